-- By hand: matches have an event time: that of their last row.

CREATE TABLE letters (
  id INT, k INT, letter STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/letters.csv', 'format' = 'csv');

SELECT window_start, COUNT(*) AS matches, SUM(n) AS letters
FROM TABLE(TUMBLE(
  TABLE (
    SELECT * FROM letters MATCH_RECOGNIZE (
      PARTITION BY k
      ORDER BY ts
      MEASURES COUNT(*) AS n, MATCH_ROWTIME() AS matched
      PATTERN (A B+? C | A C) WITHIN INTERVAL '5' SECOND
      DEFINE A AS A.letter = 'A', B AS B.letter = 'B', C AS C.letter = 'C'
    )
  ),
  DESCRIPTOR(matched), INTERVAL '3' SECOND))
GROUP BY window_start, window_end;
