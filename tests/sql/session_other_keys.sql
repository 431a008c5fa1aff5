-- Sessions of users, counted by page: the groups are not the sessions' keys.

CREATE TABLE clicks (
  user_id STRING, page STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/clicks.jsonl', 'format' = 'json');

SELECT page, window_start, window_end, COUNT(*) AS n, COUNT(DISTINCT user_id) AS users
FROM TABLE(SESSION(TABLE clicks PARTITION BY user_id, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end, page;
