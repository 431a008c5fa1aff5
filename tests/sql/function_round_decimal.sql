-- ROUND of decimals goes half away from zero.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, ROUND(price, 1) AS r1, ROUND(-price, 1) AS r2 FROM orders WHERE price IS NOT NULL;
