-- Common table expressions.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

WITH totals AS (SELECT customer, SUM(qty) AS qty FROM orders GROUP BY customer),
     big AS (SELECT * FROM totals WHERE qty > 20)
SELECT * FROM big;
