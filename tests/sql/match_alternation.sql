-- By hand: the first alternative that leads to a match is taken.

CREATE TABLE letters (
  id INT, k INT, letter STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/letters.csv', 'format' = 'csv');

SELECT k, first_id, last_id, what FROM letters MATCH_RECOGNIZE (
  PARTITION BY k
  ORDER BY ts
  MEASURES FIRST(id) AS first_id, LAST(id) AS last_id, CLASSIFIER() AS what
  AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A C | A (B B C | B) | C B)
  DEFINE A AS A.letter = 'A', B AS B.letter = 'B', C AS C.letter = 'C'
);
