-- The rows before, with and without a default, append-only.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, product, LAG(price) OVER w AS last_price, LAG(price, 2, 0.5) OVER w AS second_last,
  qty - LAG(qty, 1, qty) OVER w AS change
FROM orders WINDOW w AS (PARTITION BY product ORDER BY ts);
