-- Elements of arrays count from one; beyond the end is NULL.

CREATE TABLE nested (
  id INT,
  r ROW<a INT, b ROW<c STRING, d ARRAY<DOUBLE>>>,
  tags ARRAY<STRING>,
  m MAP<STRING, INT>,
  items ARRAY<ROW<sku STRING, n INT>>
) WITH ('connector' = 'filesystem', 'path' = 'data/nested.jsonl', 'format' = 'json');

SELECT id, tags[1] AS t1, tags[2] AS t2, tags[3] AS t3, CARDINALITY(tags) AS n, r.b.d[2] AS d2, items[2].n AS n2 FROM nested;
