-- A limit of a limit.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE MATERIALIZED VIEW v AS
SELECT order_id FROM (SELECT order_id, price FROM orders ORDER BY price DESC NULLS LAST, order_id LIMIT 9) AS nine ORDER BY order_id LIMIT 4;

SELECT * FROM v;
