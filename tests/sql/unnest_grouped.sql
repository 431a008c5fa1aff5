-- An aggregate over items.

CREATE TABLE nested (
  id BIGINT, tags ARRAY<STRING>, m MAP<STRING, INT>, items ARRAY<ROW<sku STRING, n INT>>
) WITH ('connector' = 'filesystem', 'path' = 'data/nested.jsonl', 'format' = 'json');

SELECT tag, COUNT(*) AS c FROM nested CROSS JOIN UNNEST(tags) AS t (tag) GROUP BY tag;
