-- Rides of more than two hours as a pattern: lab "long ride alerts" of Flink's training.
--
-- A start that no end follows in time is known when the watermark passes the two hours. An end
-- exactly two hours after its start is in time: WITHIN is exclusive.
--
-- Input: floodmark generate taxi-rides --events 4320 --format json --out data/taxi

CREATE TABLE rides (
  rideId BIGINT, isStart BOOLEAN,
  eventTime TIMESTAMP(3),
  WATERMARK FOR eventTime AS eventTime - INTERVAL '100' SECOND
) WITH (
  'connector' = 'filesystem',
  'path' = 'data/taxi/rides.jsonl',
  'format' = 'json'
);

SELECT rideId
FROM rides MATCH_RECOGNIZE (
  PARTITION BY rideId
  ORDER BY eventTime, isStart DESC
  MEASURES ENDED.eventTime AS ended
  ONE ROW PER MATCH
  AFTER MATCH SKIP PAST LAST ROW
  PATTERN (STARTED ENDED?) WITHIN INTERVAL '7200.001' SECOND
  DEFINE
    STARTED AS STARTED.isStart,
    ENDED AS NOT ENDED.isStart
)
WHERE ended IS NULL;
