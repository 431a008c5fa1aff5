-- A row comes once, with its results, when the frontier passes it.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, SUM(qty) OVER (PARTITION BY product ORDER BY ts ROWS 1 PRECEDING) AS two FROM orders;
