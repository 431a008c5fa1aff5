-- Frames that look ahead.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, product,
  SUM(qty) OVER (PARTITION BY product ORDER BY ts ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS around,
  COUNT(*) OVER (PARTITION BY product ORDER BY ts ROWS BETWEEN 2 FOLLOWING AND 4 FOLLOWING) AS ahead,
  SUM(qty) OVER (PARTITION BY product ORDER BY ts RANGE BETWEEN INTERVAL '5' MINUTE PRECEDING AND INTERVAL '10' MINUTE FOLLOWING) AS near
FROM orders;
