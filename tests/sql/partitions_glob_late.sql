-- By hand: over a glob, only the row behind its own file's watermark (11:30 after 12:30, delay 10 s) is late.

CREATE TABLE events (
  id BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '10' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/parts/*.jsonl', 'format' = 'json');

SELECT window_start, COUNT(*) AS n
FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
GROUP BY window_start, window_end;
