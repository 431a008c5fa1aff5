-- DISTINCT over an updating view.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE VIEW counts AS SELECT customer, COUNT(*) AS n FROM orders GROUP BY customer;

SELECT DISTINCT MOD(n, 2) AS parity FROM counts;
