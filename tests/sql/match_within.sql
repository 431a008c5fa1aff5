-- By hand: a drop of more than 10 in less than an hour. The drop from 15 at 12:00 took an hour.

CREATE TABLE prices (
  symbol STRING, ts TIMESTAMP(3), price INT,
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/drops.csv', 'format' = 'csv');

SELECT * FROM prices MATCH_RECOGNIZE (
  PARTITION BY symbol
  ORDER BY ts
  MEASURES
    FIRST(A.ts) AS start_ts,
    C.ts AS drop_ts,
    A.price - C.price AS drop_diff
  ONE ROW PER MATCH
  AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A B* C) WITHIN INTERVAL '1' HOUR
  DEFINE
    B AS B.price > A.price - 10,
    C AS C.price < A.price - 10
);
