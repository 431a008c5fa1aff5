-- A view that recurs, read twice, is computed once.

CREATE TABLE edges (src BIGINT, dst BIGINT, w BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'filesystem', 'path' = 'data/edges.jsonl', 'format' = 'json');

CREATE VIEW reach (a, b) AS
WITH RECURSIVE r (a, b) AS (
  SELECT src, dst FROM edges UNION SELECT r.a, e.dst FROM r JOIN edges AS e ON r.b = e.src)
SELECT a, b FROM r;
SELECT x.a, x.b FROM reach AS x JOIN reach AS y ON x.a = y.b AND x.b = y.a;
