-- What one node reaches, with a name defined before the recursion and one behind it.

CREATE TABLE links (
  id BIGINT, src BIGINT, dst BIGINT, w BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/links.changes.jsonl', 'format' = 'changelog-json');

WITH RECURSIVE
  plain AS (SELECT src, dst FROM links WHERE w < 9),
  reach (node) AS (
    SELECT dst FROM plain WHERE src = 3
    UNION
    SELECT p.dst FROM plain AS p, reach AS r WHERE p.src = r.node),
  far AS (SELECT node FROM reach WHERE node > 10)
SELECT COUNT(*) AS c, MAX(node) AS m FROM far;
