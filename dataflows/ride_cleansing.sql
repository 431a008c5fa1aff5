-- Ride events that start and end in New York City: lab "ride cleansing" of Flink's training.
--
-- Input: floodmark generate taxi-rides --events 4320 --format json --out data/taxi

CREATE TABLE rides (
  rideId BIGINT, isStart BOOLEAN,
  eventTime TIMESTAMP(3),
  startLon FLOAT, startLat FLOAT, endLon FLOAT, endLat FLOAT,
  passengerCnt SMALLINT, taxiId BIGINT, driverId BIGINT,
  WATERMARK FOR eventTime AS eventTime - INTERVAL '60' SECOND
) WITH (
  'connector' = 'filesystem',
  'path' = 'data/taxi/rides.jsonl',
  'format' = 'json'
);

SELECT rideId, isStart, eventTime, startLon, startLat, endLon, endLat,
       passengerCnt, taxiId, driverId
FROM rides
WHERE startLon BETWEEN -74.05 AND -73.7 AND startLat BETWEEN 40.5 AND 41.0
  AND endLon BETWEEN -74.05 AND -73.7 AND endLat BETWEEN 40.5 AND 41.0;
