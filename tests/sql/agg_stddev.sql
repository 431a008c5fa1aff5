-- Standard deviation and variance, of samples and of populations; one value has no sample deviation.

CREATE TABLE readings (
  sensor STRING, temp DOUBLE, ok BOOLEAN, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '10' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/readings.csv', 'format' = 'csv');

SELECT window_start, sensor, ROUND(STDDEV_SAMP(temp), 3) AS ss, ROUND(STDDEV_POP(temp), 3) AS sp,
       ROUND(VAR_SAMP(temp), 3) AS vs, ROUND(VAR_POP(temp), 3) AS vp, ROUND(STDDEV(temp), 3) AS s
FROM TABLE(TUMBLE(TABLE readings, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end, sensor;
