-- By hand: aggregates over the rows of variables, with FILTER and DISTINCT.

CREATE TABLE letters (
  id INT, k INT, letter STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/letters.csv', 'format' = 'csv');

SELECT * FROM letters MATCH_RECOGNIZE (
  PARTITION BY k
  ORDER BY ts
  MEASURES
    SUM(B.id) AS sum_b,
    AVG(CAST(id AS DOUBLE)) AS avg_all,
    COUNT(DISTINCT letter) AS letters,
    COUNT(*) FILTER (WHERE letter <> 'B') AS others,
    MAX(A.id) + MIN(A.id) AS ends,
    LISTAGG(letter, '') AS word,
    FIRST(id, 1) AS second,
    LAST(id, 1) AS last_but_one
  AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A (B | C)* A?)
  DEFINE A AS A.letter = 'A', B AS B.letter = 'B', C AS C.letter = 'C'
);
