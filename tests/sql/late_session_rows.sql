-- By hand: late rows that are still allowed move rows that were emitted to the session that they became.
-- Delay 2 s, gap 5 s, 60 s allowed: nothing is late, so the final contents are those of plain sessions.

CREATE TABLE events (
  id BIGINT, k STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/late_sessions.jsonl', 'format' = 'json');

SET 'allowed_lateness' = '60 s';

SELECT id, k, ts, window_start, window_end
FROM TABLE(SESSION(TABLE events PARTITION BY k, DESCRIPTOR(ts), INTERVAL '5' SECOND));
