-- Allowed lateness corrects a result by a retraction and an insertion at the time of the late row.

CREATE TABLE events (
  id BIGINT, k STRING, v INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/late.jsonl', 'format' = 'json');

SET 'allowed_lateness' = '4 s';
SET 'time_resolution' = '1 ms';

SELECT window_start, window_end, SUM(v) AS v
FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end;
