-- By hand: bounded repetitions, greedy and reluctant.

CREATE TABLE letters (
  id INT, k INT, letter STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/letters.csv', 'format' = 'csv');

SELECT 'greedy' AS how, first_id, n FROM letters MATCH_RECOGNIZE (
  ORDER BY ts
  MEASURES FIRST(id) AS first_id, COUNT(*) AS n
  AFTER MATCH SKIP PAST LAST ROW
  PATTERN (ANYTHING{2,4} C)
  DEFINE C AS C.letter = 'C'
)
UNION ALL
SELECT 'reluctant', first_id, n FROM letters MATCH_RECOGNIZE (
  ORDER BY ts
  MEASURES FIRST(id) AS first_id, COUNT(*) AS n
  AFTER MATCH SKIP PAST LAST ROW
  PATTERN (ANYTHING{2,4}? C)
  DEFINE C AS C.letter = 'C'
)
UNION ALL
SELECT 'exactly', first_id, n FROM letters MATCH_RECOGNIZE (
  ORDER BY ts
  MEASURES FIRST(id) AS first_id, COUNT(*) AS n
  AFTER MATCH SKIP PAST LAST ROW
  PATTERN (ANYTHING{5})
  DEFINE ANYTHING AS TRUE
);
