-- By hand: the three letters in any order.

CREATE TABLE letters (
  id INT, k INT, letter STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/letters.csv', 'format' = 'csv');

SELECT k, a, b, c FROM letters MATCH_RECOGNIZE (
  PARTITION BY k
  ORDER BY ts
  MEASURES A.id AS a, B.id AS b, C.id AS c
  AFTER MATCH SKIP TO NEXT ROW
  PATTERN (PERMUTE(A, B, C))
  DEFINE A AS A.letter = 'A', B AS B.letter = 'B', C AS C.letter = 'C'
);
