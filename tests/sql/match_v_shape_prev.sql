-- By hand: the same shape told with PREV, and how deep it went.

CREATE TABLE ticker (
  symbol STRING, ts TIMESTAMP(3), price INT,
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/ticker.csv', 'format' = 'csv');

SELECT symbol, start_price, bottom_price, end_price, n, depth
FROM ticker MATCH_RECOGNIZE (
  PARTITION BY symbol
  ORDER BY ts
  MEASURES
    STRT.price AS start_price,
    LAST(DOWN.price) AS bottom_price,
    LAST(UP.price) AS end_price,
    COUNT(*) AS n,
    STRT.price - MIN(DOWN.price) AS depth
  ONE ROW PER MATCH
  AFTER MATCH SKIP TO LAST UP
  PATTERN (STRT DOWN+ UP+)
  DEFINE
    DOWN AS DOWN.price < PREV(DOWN.price),
    UP AS UP.price > PREV(UP.price)
);
