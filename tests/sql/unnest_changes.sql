-- Items of an updating row are retracted and given again.

CREATE TABLE nested (
  id BIGINT, tags ARRAY<STRING>, m MAP<STRING, INT>, items ARRAY<ROW<sku STRING, n INT>>
) WITH ('connector' = 'filesystem', 'path' = 'data/nested.jsonl', 'format' = 'json');

SELECT COUNT(*) AS c, SUM(x) AS s FROM (
  SELECT tag, COUNT(*) AS n FROM nested CROSS JOIN UNNEST(tags) AS t (tag) GROUP BY tag) AS counted
CROSS JOIN UNNEST(GENERATE_SERIES(1, n)) AS g (x);
