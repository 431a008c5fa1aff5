-- Sessions as a pattern: a row belongs to the one before if it comes at most ten seconds after.

CREATE TABLE clicks (
  user_id STRING, page STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/clicks.jsonl', 'format' = 'json');

SELECT user_id, first_ts, last_ts, n FROM clicks MATCH_RECOGNIZE (
  PARTITION BY user_id
  ORDER BY ts, page
  MEASURES FIRST(ts) AS first_ts, LAST(ts) AS last_ts, COUNT(*) AS n
  AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A B*)
  DEFINE B AS B.ts <= PREV(B.ts) + INTERVAL '10' SECOND
);
