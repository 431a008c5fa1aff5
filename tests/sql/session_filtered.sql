-- A filter behind sessions takes rows from them and leaves their bounds.

CREATE TABLE clicks (
  user_id STRING, page STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/clicks.jsonl', 'format' = 'json');

SELECT user_id, window_start, window_end, COUNT(*) AS n
FROM TABLE(SESSION(TABLE clicks PARTITION BY user_id, DESCRIPTOR(ts), INTERVAL '10' SECOND))
WHERE page <> '/p0' AND window_end < TIMESTAMP '2024-03-01 00:01:45'
GROUP BY user_id, window_start, window_end;
