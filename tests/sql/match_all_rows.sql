-- By hand: all rows of a match with what was known at each, and at the end.

CREATE TABLE letters (
  id INT, k INT, letter STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/letters.csv', 'format' = 'csv');

SELECT * FROM letters MATCH_RECOGNIZE (
  PARTITION BY k
  ORDER BY ts
  MEASURES
    MATCH_NUMBER() AS match_no,
    CLASSIFIER() AS var,
    COUNT(*) AS so_far,
    FINAL COUNT(*) AS in_all,
    RUNNING LAST(B.id) AS last_b,
    FINAL LAST(B.id) AS final_b
  ALL ROWS PER MATCH
  AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A B* C?)
  DEFINE A AS A.letter = 'A', B AS B.letter = 'B', C AS C.letter = 'C'
);
