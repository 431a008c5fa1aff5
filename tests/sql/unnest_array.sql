-- The items of an array, one row each; rows without items are dropped.

CREATE TABLE nested (
  id BIGINT, tags ARRAY<STRING>, m MAP<STRING, INT>, items ARRAY<ROW<sku STRING, n INT>>
) WITH ('connector' = 'filesystem', 'path' = 'data/nested.jsonl', 'format' = 'json');

SELECT id, tag FROM nested CROSS JOIN UNNEST(tags) AS t (tag);
