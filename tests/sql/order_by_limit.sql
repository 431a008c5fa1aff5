-- ORDER BY with LIMIT and OFFSET.
-- ordered

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, price FROM orders ORDER BY price DESC NULLS LAST LIMIT 5 OFFSET 2;
