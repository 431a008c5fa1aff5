-- Cumulating windows around the epoch.

CREATE TABLE old_events (
  id BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' DAY
) WITH ('connector' = 'filesystem', 'path' = 'data/old.jsonl', 'format' = 'json');

SELECT window_start, window_end, COUNT(*) AS n
FROM TABLE(CUMULATE(TABLE old_events, DESCRIPTOR(ts), INTERVAL '30' MINUTES, INTERVAL '2' HOURS))
GROUP BY window_start, window_end;
