-- Rides of more than two hours: lab "long ride alerts" of Flink's training.
--
-- Input: floodmark generate taxi-rides --events 4320 --format json --out data/taxi
-- An alert comes when the watermark passes two hours after the START and no END has come by then,
-- and has exactly that time. A START is forgotten at its END, or then; an END that comes first
-- waits for its START. Rides come up to 80 s out of order.

CREATE TABLE rides (
  rideId BIGINT, isStart BOOLEAN,
  eventTime TIMESTAMP(3),
  startLon FLOAT, startLat FLOAT, endLon FLOAT, endLat FLOAT,
  passengerCnt SMALLINT, taxiId BIGINT, driverId BIGINT,
  WATERMARK FOR eventTime AS eventTime - INTERVAL '90' SECOND
) WITH (
  'connector' = 'filesystem',
  'path' = 'data/taxi/rides.jsonl',
  'format' = 'json'
);

SELECT s.rideId
FROM (SELECT * FROM rides WHERE isStart) AS s
WHERE NOT EXISTS (
  SELECT 1
  FROM rides AS e
  WHERE NOT e.isStart
    AND e.rideId = s.rideId
    AND e.eventTime BETWEEN s.eventTime AND s.eventTime + INTERVAL '2' HOUR
)
ORDER BY rideId;
