-- Of a kept row the count is NULL.

CREATE TABLE nested (
  id BIGINT, tags ARRAY<STRING>, m MAP<STRING, INT>, items ARRAY<ROW<sku STRING, n INT>>
) WITH ('connector' = 'filesystem', 'path' = 'data/nested.jsonl', 'format' = 'json');

SELECT id, tag, place FROM nested LEFT JOIN UNNEST(tags) WITH ORDINALITY AS t (tag, place) ON TRUE;
