-- By hand: patterns over a query, and a query over the matches.

CREATE TABLE letters (
  id INT, k INT, letter STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/letters.csv', 'format' = 'csv');

SELECT k, COUNT(*) AS matches, MAX(n) AS longest
FROM (SELECT k, id * 10 AS tens, letter, ts FROM letters WHERE letter <> 'X') MATCH_RECOGNIZE (
  PARTITION BY k
  ORDER BY ts
  MEASURES COUNT(*) AS n, SUM(tens) AS total
  AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A (B | C)*)
  DEFINE A AS A.letter = 'A', B AS B.letter = 'B', C AS C.letter = 'C'
) AS m
WHERE total > 60
GROUP BY k;
