-- By hand: the first two and the last two rows of each partition.

CREATE TABLE letters (
  id INT, k INT, letter STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/letters.csv', 'format' = 'csv');

SELECT 'first' AS place, k, a, b FROM letters MATCH_RECOGNIZE (
  PARTITION BY k
  ORDER BY ts
  MEASURES A.id AS a, B.id AS b
  PATTERN (^ A B)
  DEFINE A AS TRUE
)
UNION ALL
SELECT 'last', k, a, b FROM letters MATCH_RECOGNIZE (
  PARTITION BY k
  ORDER BY ts
  MEASURES A.id AS a, B.id AS b
  PATTERN (A B $)
  DEFINE A AS TRUE
);
