-- Disorder within the watermark delay drops nothing; CSV input.

CREATE TABLE readings (
  sensor STRING, temp DOUBLE, ok BOOLEAN, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '10' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/readings.csv', 'format' = 'csv');

SELECT window_start, window_end, COUNT(*) AS n, COUNT(temp) AS temps, MIN(temp) AS low, MAX(temp) AS high
FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end;
