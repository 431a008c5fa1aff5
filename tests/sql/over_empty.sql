-- Over no rows.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, SUM(qty) OVER (ORDER BY ts ROWS 2 PRECEDING) AS near, COUNT(*) OVER () AS n
FROM orders WHERE qty > 1000;
