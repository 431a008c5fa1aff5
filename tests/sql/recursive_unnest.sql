-- A recursion over the members of JSON documents: UNNEST in the body.

WITH RECURSIVE tree (doc) AS (
  SELECT '{"v": 1, "kids": [{"v": 2, "kids": [{"v": 3}]}, {"v": 4}]}'
  UNION ALL
  SELECT kid FROM tree CROSS JOIN UNNEST(JSON_QUERY(doc, '$.kids[*]' RETURNING ARRAY<STRING>)) AS t (kid)
)
SELECT JSON_VALUE(doc, '$.v' RETURNING INT) AS v FROM tree;
