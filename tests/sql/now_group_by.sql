-- Counts of the last minutes: they go down, too.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT product, COUNT(*) AS n, SUM(qty) AS total FROM orders
WHERE ts >= NOW() - INTERVAL '20' MINUTE GROUP BY product;
