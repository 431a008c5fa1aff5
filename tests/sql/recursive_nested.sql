-- A recursion inside of a subquery.

CREATE TABLE edges (src BIGINT, dst BIGINT, w BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'filesystem', 'path' = 'data/edges.jsonl', 'format' = 'json');

SELECT t.a, COUNT(*) AS c FROM (
  WITH RECURSIVE reach (a, b) AS (
    SELECT src, dst FROM edges UNION SELECT r.a, e.dst FROM reach AS r JOIN edges AS e ON r.b = e.src)
  SELECT a, b FROM reach WHERE b IS NOT NULL) AS t
GROUP BY t.a;
