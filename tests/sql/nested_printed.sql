-- By hand: a nested value is a field of JSON text.

CREATE TABLE nested (
  id INT,
  r ROW<a INT, b ROW<c STRING, d ARRAY<DOUBLE>>>,
  tags ARRAY<STRING>,
  m MAP<STRING, INT>,
  items ARRAY<ROW<sku STRING, n INT>>
) WITH ('connector' = 'filesystem', 'path' = 'data/nested.jsonl', 'format' = 'json');

SELECT id, r, tags, m FROM nested WHERE id <= 3;
