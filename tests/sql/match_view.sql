-- By hand: matches are kept and read like any other rows.

CREATE TABLE letters (
  id INT, k INT, letter STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/letters.csv', 'format' = 'csv');

CREATE MATERIALIZED VIEW pairs AS
SELECT k, a, b FROM letters MATCH_RECOGNIZE (
  PARTITION BY k
  ORDER BY ts
  MEASURES A.id AS a, B.id AS b
  PATTERN (A B)
  DEFINE A AS A.letter = 'A', B AS B.letter = 'B'
);

SELECT k, COUNT(*) AS n, MIN(a) AS least FROM pairs GROUP BY k;
