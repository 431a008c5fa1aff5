-- The START of each ride with its fare: lab "rides and fares" of Flink's training.
--
-- Input: floodmark generate taxi-rides --events 4320 --format json --out data/taxi
--        floodmark generate taxi-fares --events 4320 --format json --out data/taxi
-- Whichever comes first waits for the other. Both carry the time of the ride's start, so each is
-- forgotten once the watermark has passed it: EXPLAIN says so. Rides come up to 80 s out of order.

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

SELECT r.rideId, r.eventTime, r.driverId, r.passengerCnt,
       f.paymentType, f.tip, f.tolls, f.totalFare
FROM rides AS r
JOIN fares AS f
  ON r.rideId = f.rideId
 AND r.eventTime BETWEEN f.startTime - INTERVAL '1' MINUTE AND f.startTime + INTERVAL '1' MINUTE
WHERE r.isStart;
