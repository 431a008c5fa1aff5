-- By hand: a match comes when it is certain. Reluctant: with its last row. Greedy: with the row that
-- does not belong, or when no row in time can come.

CREATE TABLE letters (
  id INT, k INT, letter STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/letters.csv', 'format' = 'csv');

SELECT 'reluctant' AS how, k, first_id, n FROM letters MATCH_RECOGNIZE (
  PARTITION BY k
  ORDER BY ts
  MEASURES FIRST(id) AS first_id, COUNT(*) AS n
  AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A B+?) WITHIN INTERVAL '3' SECOND
  DEFINE A AS A.letter = 'A', B AS B.letter = 'B'
)
UNION ALL
SELECT 'greedy', k, first_id, n FROM letters MATCH_RECOGNIZE (
  PARTITION BY k
  ORDER BY ts
  MEASURES FIRST(id) AS first_id, COUNT(*) AS n
  AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A B+) WITHIN INTERVAL '3' SECOND
  DEFINE A AS A.letter = 'A', B AS B.letter = 'B'
);
