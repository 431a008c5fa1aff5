-- By hand: a subset names the rows of two variables.

CREATE TABLE letters (
  id INT, k INT, letter STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/letters.csv', 'format' = 'csv');

SELECT k, n, first_id, last_id, kinds FROM letters MATCH_RECOGNIZE (
  PARTITION BY k
  ORDER BY ts
  MEASURES
    COUNT(AB.id) AS n,
    FIRST(AB.id) AS first_id,
    LAST(AB.id) AS last_id,
    COUNT(DISTINCT AB.letter) AS kinds
  AFTER MATCH SKIP PAST LAST ROW
  PATTERN ((A | B)+ C)
  SUBSET AB = (A, B)
  DEFINE A AS A.letter = 'A', B AS B.letter = 'B', C AS C.letter = 'C'
);
