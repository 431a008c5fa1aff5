-- Fields of nested rows, by dots; a field of NULL is NULL.

CREATE TABLE nested (
  id INT,
  r ROW<a INT, b ROW<c STRING, d ARRAY<DOUBLE>>>,
  tags ARRAY<STRING>,
  m MAP<STRING, INT>,
  items ARRAY<ROW<sku STRING, n INT>>
) WITH ('connector' = 'filesystem', 'path' = 'data/nested.jsonl', 'format' = 'json');

SELECT id, r.a, r.b.c AS c, nested.r.b.c AS c2, r.a + 1 AS next_a FROM nested;
