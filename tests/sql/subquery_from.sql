-- Nested subqueries and aliases of columns.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT t.p, t.q FROM (SELECT product AS p, qty * 2 AS q FROM (SELECT * FROM orders WHERE qty > 7) AS big) AS t WHERE t.q > 16;
