-- By hand: a late row joins a session that is still open, opens none that would be closed at once.
-- Delay 2 s, gap 5 s. id 4 (11.000, at time 17.001): its session a [10, 15) is closed and so is its own
-- window [11, 16): dropped. id 5 (12.500, at 17.001) widens b [14, 24) to [12.5, 24). id 7 (15.000, at
-- 22.001): its own window [15, 20) is closed, but the session that it falls into is open: kept. id 8 and 9:
-- behind the watermark, their session c [17.999, 23) is open: kept.

CREATE TABLE events (
  id BIGINT, k STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/late_sessions.jsonl', 'format' = 'json');

SELECT k, window_start, window_end, COUNT(*) AS n
FROM TABLE(SESSION(TABLE events PARTITION BY k, DESCRIPTOR(ts), INTERVAL '5' SECOND))
GROUP BY k, window_start, window_end;
