-- Values of maps by key; an absent key is NULL.

CREATE TABLE nested (
  id INT,
  r ROW<a INT, b ROW<c STRING, d ARRAY<DOUBLE>>>,
  tags ARRAY<STRING>,
  m MAP<STRING, INT>,
  items ARRAY<ROW<sku STRING, n INT>>
) WITH ('connector' = 'filesystem', 'path' = 'data/nested.jsonl', 'format' = 'json');

SELECT id, m['k'] AS k, m['l'] AS l, m['zz'] AS zz, CARDINALITY(m) AS n FROM nested;
