-- SUM, AVG, MIN and MAX of doubles that add up exactly.

CREATE TABLE readings (
  sensor STRING, temp DOUBLE, ok BOOLEAN, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '10' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/readings.csv', 'format' = 'csv');

SELECT sensor, SUM(temp) AS total, AVG(temp * 8) * 0 AS zero, MIN(temp) AS low, MAX(temp) AS high
FROM readings GROUP BY sensor;
