-- A RANGE frame over numbers, both ways.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, qty,
  COUNT(*) OVER (ORDER BY qty RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS near,
  COUNT(*) OVER (ORDER BY qty DESC NULLS LAST RANGE BETWEEN 2 PRECEDING AND CURRENT ROW) AS above,
  COUNT(*) OVER (ORDER BY qty RANGE BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING) AS below
FROM orders;
