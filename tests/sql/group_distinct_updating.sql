-- COUNT(DISTINCT) with FILTER without a window.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT product, COUNT(DISTINCT customer) AS customers,
       COUNT(DISTINCT customer) FILTER (WHERE qty > 4) AS big,
       SUM(DISTINCT qty) AS qty
FROM orders GROUP BY product;
