-- A row without items is kept with NULL by LEFT JOIN.

CREATE TABLE nested (
  id BIGINT, tags ARRAY<STRING>, m MAP<STRING, INT>, items ARRAY<ROW<sku STRING, n INT>>
) WITH ('connector' = 'filesystem', 'path' = 'data/nested.jsonl', 'format' = 'json');

SELECT id, tag FROM nested LEFT JOIN UNNEST(tags) AS t (tag) ON TRUE;
