-- Rows that came too late for OVER are the view's late output.

CREATE TABLE events (
  id BIGINT, k STRING, v INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/late.jsonl', 'format' = 'json');

CREATE MATERIALIZED VIEW sums AS
SELECT id, k, SUM(v) OVER (PARTITION BY k ORDER BY ts ROWS 1 PRECEDING) AS two FROM events;

SELECT event_time, window_end, late_by_ms FROM `sums$late`;
