-- UNNEST behind a comma, with the alias of the table.

CREATE TABLE nested (
  id BIGINT, tags ARRAY<STRING>, m MAP<STRING, INT>, items ARRAY<ROW<sku STRING, n INT>>
) WITH ('connector' = 'filesystem', 'path' = 'data/nested.jsonl', 'format' = 'json');

SELECT n.id, t.tag FROM nested AS n, UNNEST(n.tags) AS t (tag) WHERE t.tag <> 'red';
