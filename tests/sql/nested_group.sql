-- Grouping by a field of a row and counting elements.

CREATE TABLE nested (
  id INT,
  r ROW<a INT, b ROW<c STRING, d ARRAY<DOUBLE>>>,
  tags ARRAY<STRING>,
  m MAP<STRING, INT>,
  items ARRAY<ROW<sku STRING, n INT>>
) WITH ('connector' = 'filesystem', 'path' = 'data/nested.jsonl', 'format' = 'json');

SELECT r.b.c AS c, COUNT(*) AS n, SUM(CARDINALITY(tags)) AS tags FROM nested GROUP BY r.b.c;
