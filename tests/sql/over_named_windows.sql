-- Several windows over one input, some by name, one over an expression.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id,
  SUM(qty) OVER by_product AS of_product,
  SUM(qty) OVER (by_product ROWS 1 PRECEDING) AS of_two,
  COUNT(*) OVER by_customer AS of_customer,
  SUM(qty * 2) OVER (PARTITION BY UPPER(product), customer ORDER BY ts) AS of_both
FROM orders
WINDOW by_product AS (PARTITION BY product ORDER BY ts), by_customer AS (PARTITION BY customer ORDER BY ts);
