-- By hand: positions that win when four rounds are looked ahead; not monotone, so it is stopped.

CREATE TABLE edges (src BIGINT, dst BIGINT, w BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'filesystem', 'path' = 'data/edges.jsonl', 'format' = 'json');

WITH MUTUALLY RECURSIVE (RETURN AT RECURSION LIMIT 4) won (node BIGINT) AS (
  SELECT DISTINCT src FROM edges WHERE src IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM won WHERE won.node = edges.dst)
)
SELECT node FROM won;
