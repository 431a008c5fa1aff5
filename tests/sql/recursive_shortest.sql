-- Shortest paths: a minimum in the body, over links that come and go.

CREATE TABLE links (
  id BIGINT, src BIGINT, dst BIGINT, w BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/links.changes.jsonl', 'format' = 'changelog-json');

WITH MUTUALLY RECURSIVE dist (node BIGINT, d BIGINT) AS (
  SELECT node, MIN(d) AS d FROM (
    SELECT CAST(3 AS BIGINT) AS node, CAST(0 AS BIGINT) AS d
    UNION ALL
    SELECT l.dst, s.d + l.w FROM dist AS s JOIN links AS l ON s.node = l.src
  ) AS paths GROUP BY node
)
SELECT node, d FROM dist;
