-- Bill of materials: quantities multiply along every path.

CREATE TABLE links (
  id BIGINT, src BIGINT, dst BIGINT, w BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/links.changes.jsonl', 'format' = 'changelog-json');

WITH RECURSIVE parts (whole, part, qty) AS (
  SELECT src, dst, w FROM links WHERE src < dst
  UNION ALL
  SELECT p.whole, l.dst, p.qty * l.w FROM parts AS p JOIN links AS l ON p.part = l.src WHERE l.src < l.dst
)
SELECT whole, part, SUM(qty) AS total, COUNT(*) AS paths FROM parts GROUP BY whole, part;
