-- Hopping windows around the epoch.

CREATE TABLE old_events (
  id BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' DAY
) WITH ('connector' = 'filesystem', 'path' = 'data/old.jsonl', 'format' = 'json');

SELECT window_start, window_end, COUNT(*) AS n
FROM TABLE(HOP(TABLE old_events, DESCRIPTOR(ts), INTERVAL '25' MINUTES, INTERVAL '60' MINUTES))
GROUP BY window_start, window_end;
