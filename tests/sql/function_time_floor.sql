-- FLOOR and CEIL of timestamps to a unit, before 1970 too.

CREATE TABLE old_events (
  id BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' DAY
) WITH ('connector' = 'filesystem', 'path' = 'data/old.jsonl', 'format' = 'json');

SELECT id, FLOOR(ts TO HOUR) AS hour_start, CEIL(ts TO HOUR) AS hour_end, FLOOR(ts TO DAY) AS day_start FROM old_events;
