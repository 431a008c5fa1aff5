-- A materialized view in a script, selected from by its name.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE MATERIALIZED VIEW per_product AS
SELECT product, COUNT(*) AS n, SUM(qty) AS qty FROM orders GROUP BY product;

SELECT * FROM per_product WHERE n > 5;
