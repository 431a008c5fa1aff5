-- Reachability over links that come, change and go.

CREATE TABLE links (
  id BIGINT, src BIGINT, dst BIGINT, w BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/links.changes.jsonl', 'format' = 'changelog-json');

WITH RECURSIVE reach (a, b) AS (
  SELECT src, dst FROM links
  UNION
  SELECT r.a, e.dst FROM reach AS r JOIN links AS e ON r.b = e.src
)
SELECT a, b FROM reach;
