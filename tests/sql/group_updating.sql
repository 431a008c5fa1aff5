-- An updating aggregate without a window: its final contents.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT product, COUNT(*) AS n, SUM(price) AS total, MIN(qty) AS low, MAX(ts) AS latest
FROM orders GROUP BY product;
