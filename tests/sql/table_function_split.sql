-- A function that returns an array is a table function.

CREATE TABLE nested (
  id BIGINT, tags ARRAY<STRING>, m MAP<STRING, INT>, items ARRAY<ROW<sku STRING, n INT>>
) WITH ('connector' = 'filesystem', 'path' = 'data/nested.jsonl', 'format' = 'json');

SELECT id, piece FROM nested, LATERAL TABLE(STRING_TO_ARRAY(ARRAY_TO_STRING(tags, '-'), 'e')) AS t (piece);
