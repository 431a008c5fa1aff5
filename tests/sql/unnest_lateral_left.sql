-- What a lateral subquery computes is NULL for rows without items.

CREATE TABLE nested (
  id BIGINT, tags ARRAY<STRING>, m MAP<STRING, INT>, items ARRAY<ROW<sku STRING, n INT>>
) WITH ('connector' = 'filesystem', 'path' = 'data/nested.jsonl', 'format' = 'json');

SELECT id, tag, one FROM nested LEFT JOIN LATERAL (SELECT tag, 1 AS one FROM UNNEST(tags) AS t (tag)) AS l ON TRUE;
