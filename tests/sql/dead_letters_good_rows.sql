-- By hand: records that cannot be decoded do not stop the others.

CREATE TABLE events (
  id BIGINT, v INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/bad.jsonl', 'format' = 'json');

SELECT id, v, ts FROM events;
