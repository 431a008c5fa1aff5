-- Sums over the last rows of a key, by row-time.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, product, price,
  SUM(price) OVER (PARTITION BY product ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS total,
  COUNT(*) OVER (PARTITION BY product ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS n,
  MIN(price) OVER (PARTITION BY product ORDER BY ts ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING) AS least,
  MAX(qty) OVER (PARTITION BY product ORDER BY ts ROWS 4 PRECEDING) AS most
FROM orders;
