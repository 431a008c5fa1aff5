-- By hand: two seconds after one another of which the later has more letters.

CREATE TABLE letters (
  id INT, k INT, letter STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/letters.csv', 'format' = 'csv');

SELECT first_second, n1, n2
FROM (
  SELECT window_time, COUNT(*) AS n
  FROM TABLE(TUMBLE(TABLE letters, DESCRIPTOR(ts), INTERVAL '2' SECOND))
  GROUP BY window_start, window_end, window_time
) MATCH_RECOGNIZE (
  ORDER BY window_time
  MEASURES A.window_time AS first_second, A.n AS n1, B.n AS n2
  PATTERN (A B)
  DEFINE B AS B.n > A.n
);
