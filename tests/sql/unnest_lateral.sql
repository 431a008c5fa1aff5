-- A lateral subquery over UNNEST filters and computes.

CREATE TABLE nested (
  id BIGINT, tags ARRAY<STRING>, m MAP<STRING, INT>, items ARRAY<ROW<sku STRING, n INT>>
) WITH ('connector' = 'filesystem', 'path' = 'data/nested.jsonl', 'format' = 'json');

SELECT id, word, twice FROM nested CROSS JOIN LATERAL (
  SELECT UPPER(tag) AS word, id * 2 AS twice FROM UNNEST(tags) AS t (tag) WHERE tag IS NOT NULL) AS l;
