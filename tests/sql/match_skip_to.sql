-- By hand: the search goes on at a variable's first or last row.

CREATE TABLE letters (
  id INT, k INT, letter STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/letters.csv', 'format' = 'csv');

SELECT 'first' AS skip, first_id, n FROM letters MATCH_RECOGNIZE (
  PARTITION BY k
  ORDER BY ts
  MEASURES FIRST(id) AS first_id, COUNT(*) AS n
  AFTER MATCH SKIP TO FIRST NOT_A
  PATTERN (ANYTHING NOT_A{2})
  DEFINE NOT_A AS NOT_A.letter <> 'A'
)
UNION ALL
SELECT 'last', first_id, n FROM letters MATCH_RECOGNIZE (
  PARTITION BY k
  ORDER BY ts
  MEASURES FIRST(id) AS first_id, COUNT(*) AS n
  AFTER MATCH SKIP TO NOT_A
  PATTERN (ANYTHING NOT_A{2})
  DEFINE NOT_A AS NOT_A.letter <> 'A'
);
