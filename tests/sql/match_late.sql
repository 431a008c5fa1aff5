-- A row behind its watermark takes no part; it is among the late rows.

CREATE TABLE events (
  id BIGINT, k STRING, v INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/late.jsonl', 'format' = 'json');

CREATE MATERIALIZED VIEW steps AS
SELECT * FROM events MATCH_RECOGNIZE (
  PARTITION BY k
  ORDER BY ts
  MEASURES A.id AS a, B.id AS b
  PATTERN (A B)
  DEFINE B AS B.v > A.v
);

SELECT 'match' AS what, k, a, b, CAST(NULL AS BIGINT) AS late_by FROM steps
UNION ALL
SELECT 'late', CAST(NULL AS STRING), CAST(NULL AS BIGINT), CAST(NULL AS BIGINT), late_by_ms FROM `steps$late`;
