-- Of two arrays the first items come together.

CREATE TABLE nested (
  id BIGINT, tags ARRAY<STRING>, m MAP<STRING, INT>, items ARRAY<ROW<sku STRING, n INT>>
) WITH ('connector' = 'filesystem', 'path' = 'data/nested.jsonl', 'format' = 'json');

SELECT id, tag, sku, n FROM nested CROSS JOIN UNNEST(tags, items) AS t (tag, sku, n);
