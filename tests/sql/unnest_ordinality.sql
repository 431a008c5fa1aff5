-- WITH ORDINALITY counts from 1.

CREATE TABLE nested (
  id BIGINT, tags ARRAY<STRING>, m MAP<STRING, INT>, items ARRAY<ROW<sku STRING, n INT>>
) WITH ('connector' = 'filesystem', 'path' = 'data/nested.jsonl', 'format' = 'json');

SELECT id, tag, place FROM nested CROSS JOIN UNNEST(tags) WITH ORDINALITY AS t (tag, place);
