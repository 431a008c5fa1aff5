-- Late rows that meet nothing are readable as the late output.

CREATE TABLE events (
  id BIGINT, k STRING, v INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/late.jsonl', 'format' = 'json');

CREATE MATERIALIZED VIEW near AS
SELECT a.id, b.id AS other_id
FROM (SELECT * FROM events WHERE k = 'a') AS a
JOIN (SELECT * FROM events WHERE k = 'b') AS b
ON a.ts BETWEEN b.ts - INTERVAL '1' SECOND AND b.ts + INTERVAL '1' SECOND;

SELECT event_time, window_end, late_by_ms, reason, source FROM `near$late`;
