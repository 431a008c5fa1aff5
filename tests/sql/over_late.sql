-- A row behind the frontier is not in any frame.

CREATE TABLE events (
  id BIGINT, k STRING, v INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/late.jsonl', 'format' = 'json');

SELECT id, k, SUM(v) OVER (PARTITION BY k ORDER BY ts ROWS 1 PRECEDING) AS two, COUNT(*) OVER (PARTITION BY k ORDER BY ts) AS n
FROM events;
