-- CSV: an empty field of a number is NULL.

CREATE TABLE readings (
  sensor STRING, temp DOUBLE, ok BOOLEAN, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '10' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/readings.csv', 'format' = 'csv');

SELECT * FROM readings WHERE temp IS NULL OR ok;
