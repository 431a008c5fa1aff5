-- Sessions, then fixed windows of them by their time, then the same windows of users' counts: a result of a
-- session comes one millisecond later than its window ends, on every level behind it.

CREATE TABLE clicks (
  user_id STRING, page STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/clicks.jsonl', 'format' = 'json');

CREATE VIEW sessions AS
SELECT user_id, window_time AS session_time, COUNT(*) AS n
FROM TABLE(SESSION(TABLE clicks PARTITION BY user_id, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY user_id, window_start, window_end, window_time;

CREATE VIEW tens AS
SELECT user_id, window_start, window_end, COUNT(*) AS sessions, SUM(n) AS n
FROM TABLE(TUMBLE(TABLE sessions, DESCRIPTOR(session_time), INTERVAL '5' SECOND))
GROUP BY user_id, window_start, window_end;

SELECT window_start, window_end, COUNT(*) AS users, SUM(sessions) AS sessions, MAX(n) AS most
FROM tens
GROUP BY window_start, window_end;
