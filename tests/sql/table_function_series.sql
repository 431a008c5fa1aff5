-- Numbers from constants and from columns.

CREATE TABLE nested (
  id BIGINT, tags ARRAY<STRING>, m MAP<STRING, INT>, items ARRAY<ROW<sku STRING, n INT>>
) WITH ('connector' = 'filesystem', 'path' = 'data/nested.jsonl', 'format' = 'json');

SELECT id, x, y FROM nested, GENERATE_SERIES(1, id) AS a (x), LATERAL TABLE(GENERATE_SERIES(x, id, 2)) AS b (y);
