-- Sums over the last minutes of a key; NULL is a key.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, customer,
  SUM(qty) OVER (PARTITION BY customer ORDER BY ts RANGE BETWEEN INTERVAL '10' MINUTE PRECEDING AND CURRENT ROW) AS near,
  COUNT(price) OVER (PARTITION BY customer ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND INTERVAL '5' MINUTE PRECEDING) AS before,
  MAX(price) OVER (PARTITION BY customer ORDER BY ts RANGE BETWEEN CURRENT ROW AND CURRENT ROW) AS same
FROM orders;
