-- CSV packed by zstd.

CREATE TABLE readings (
  sensor STRING, temp DOUBLE, ok BOOLEAN, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '10' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/readings.csv.zst', 'format' = 'csv');

SELECT * FROM readings;
