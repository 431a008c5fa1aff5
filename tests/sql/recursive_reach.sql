-- Reachability over edges with cycles, duplicates and NULLs.

CREATE TABLE edges (src BIGINT, dst BIGINT, w BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'filesystem', 'path' = 'data/edges.jsonl', 'format' = 'json');

WITH RECURSIVE reach (a, b) AS (
  SELECT src, dst FROM edges
  UNION
  SELECT r.a, e.dst FROM reach AS r JOIN edges AS e ON r.b = e.src
)
SELECT a, b FROM reach;
