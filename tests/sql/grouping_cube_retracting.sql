-- CUBE of an updating aggregate.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE MATERIALIZED VIEW v AS
SELECT customer, n, COUNT(DISTINCT product) AS products, MIN(total) AS low
FROM (SELECT customer, product, COUNT(*) AS n, SUM(price) AS total FROM orders GROUP BY customer, product) AS totals GROUP BY CUBE (customer, n);

SELECT * FROM v;
