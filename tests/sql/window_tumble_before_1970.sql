-- Tumbling windows around the epoch: starts round down, not towards zero.

CREATE TABLE old_events (
  id BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' DAY
) WITH ('connector' = 'filesystem', 'path' = 'data/old.jsonl', 'format' = 'json');

SELECT window_start, window_end, COUNT(*) AS n, MIN(id) AS first_id
FROM TABLE(TUMBLE(TABLE old_events, DESCRIPTOR(ts), INTERVAL '1' HOUR))
GROUP BY window_start, window_end;
