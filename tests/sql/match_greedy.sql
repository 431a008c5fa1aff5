-- By hand: a greedy repetition takes all it can and leaves one for what must follow.

CREATE TABLE letters (
  id INT, k INT, letter STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/letters.csv', 'format' = 'csv');

SELECT id_first, id_last, id_c FROM letters MATCH_RECOGNIZE (
  PARTITION BY k
  ORDER BY ts
  MEASURES FIRST(id) AS id_first, LAST(ANYTHING.id) AS id_last, C.id AS id_c
  AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A ANYTHING* C)
  DEFINE A AS A.letter = 'A', C AS C.letter = 'C'
);
