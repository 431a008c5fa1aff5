-- The order may be by what is not selected.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE MATERIALIZED VIEW dearest AS
SELECT customer, product FROM orders ORDER BY price * qty DESC NULLS LAST, order_id LIMIT 4;

SELECT * FROM dearest;
