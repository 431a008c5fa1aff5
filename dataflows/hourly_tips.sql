-- The driver with most tips of each hour: lab "hourly tips" of Flink's training.
--
-- Input: floodmark generate taxi-fares --events 4320 --format json --out data/taxi
-- Ties go to the lowest driverId. Each hour gives one row, once, when the hour has passed.

CREATE TABLE fares (
  rideId BIGINT, taxiId BIGINT, driverId BIGINT,
  startTime TIMESTAMP(3),
  paymentType STRING, tip FLOAT, tolls FLOAT, totalFare FLOAT,
  WATERMARK FOR startTime AS startTime
) WITH (
  'connector' = 'filesystem',
  'path' = 'data/taxi/fares.jsonl',
  'format' = 'json'
);

CREATE VIEW tips_per_driver AS
SELECT window_start, window_end, driverId, SUM(tip) AS tips
FROM TABLE(TUMBLE(TABLE fares, DESCRIPTOR(startTime), INTERVAL '1' HOUR))
GROUP BY window_start, window_end, driverId;

SELECT window_end, driverId, tips
FROM (
  SELECT window_end, driverId, tips,
         ROW_NUMBER() OVER (
           PARTITION BY window_start, window_end
           ORDER BY tips DESC, driverId ASC
         ) AS place
  FROM tips_per_driver
) AS ranked
WHERE place = 1
ORDER BY window_end;
