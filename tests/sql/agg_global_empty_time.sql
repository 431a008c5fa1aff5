-- The row of an aggregate of no rows comes with the end of the input.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT 'none' AS what, COUNT(*) AS n FROM orders WHERE qty > 1000
UNION ALL
SELECT 'order' AS what, order_id AS n FROM orders;
