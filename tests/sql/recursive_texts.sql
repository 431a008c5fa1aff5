-- Paths as texts: the columns widen from the first query's, long rows.

CREATE TABLE edges (src BIGINT, dst BIGINT, w BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'filesystem', 'path' = 'data/edges.jsonl', 'format' = 'json');

WITH RECURSIVE path (node, steps, way) AS (
  SELECT dst, 1, CAST(src AS STRING) || '>' || CAST(dst AS STRING) FROM edges WHERE src = 1
  UNION
  SELECT e.dst, p.steps + 1, p.way || '>' || CAST(e.dst AS STRING)
  FROM path AS p JOIN edges AS e ON p.node = e.src WHERE p.steps < 9
)
SELECT node, steps, way FROM path;
