-- By hand: the same without the empty matches, which are numbered nevertheless.

CREATE TABLE letters (
  id INT, k INT, letter STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/letters.csv', 'format' = 'csv');

SELECT k, ts, match_no, n, id FROM letters MATCH_RECOGNIZE (
  PARTITION BY k
  ORDER BY ts
  MEASURES MATCH_NUMBER() AS match_no, COUNT(*) AS n
  ALL ROWS PER MATCH OMIT EMPTY MATCHES
  AFTER MATCH SKIP PAST LAST ROW
  PATTERN (B*)
  DEFINE B AS B.letter = 'B'
);
