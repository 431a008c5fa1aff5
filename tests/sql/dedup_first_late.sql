-- A late row does not replace the first one: it is a row of the late output.

CREATE TABLE events (
  id BIGINT, k STRING, v INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/late.jsonl', 'format' = 'json');

CREATE MATERIALIZED VIEW firsts AS
SELECT k, id, v, ts FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY ts) AS rn FROM events
) AS ranked WHERE rn = 1;

SELECT 'first' AS kind, k, id FROM firsts
UNION ALL
SELECT 'late', 'rows', COUNT(*) FROM `firsts$late`;
