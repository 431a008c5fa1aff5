-- The set without the user groups sessions with equal bounds; it does not merge them.

CREATE TABLE clicks (
  user_id STRING, page STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/clicks.jsonl', 'format' = 'json');

SELECT user_id, window_start, window_end, COUNT(*) AS n
FROM TABLE(SESSION(TABLE clicks PARTITION BY user_id, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY GROUPING SETS ((user_id, window_start, window_end), (window_start, window_end));
