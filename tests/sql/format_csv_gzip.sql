-- CSV packed by gzip.

CREATE TABLE readings (
  sensor STRING, temp DOUBLE, ok BOOLEAN, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '10' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/readings.csv.gz', 'format' = 'csv');

SELECT * FROM readings;
