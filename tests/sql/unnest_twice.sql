-- Two arrays unnested one after the other.

CREATE TABLE nested (
  id BIGINT, tags ARRAY<STRING>, m MAP<STRING, INT>, items ARRAY<ROW<sku STRING, n INT>>
) WITH ('connector' = 'filesystem', 'path' = 'data/nested.jsonl', 'format' = 'json');

SELECT id, tag, sku FROM nested CROSS JOIN UNNEST(tags) AS a (tag) CROSS JOIN UNNEST(items) AS b (sku, n) WHERE n > 1 OR n IS NULL;
