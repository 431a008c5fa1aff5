-- By hand: a row that fails in an expression becomes a dead letter; the others go on.

CREATE TABLE events (
  id BIGINT, v INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/bad.jsonl', 'format' = 'json');

CREATE MATERIALIZED VIEW shares AS SELECT id, 700 / v AS share FROM events;

SELECT id, share FROM shares;
