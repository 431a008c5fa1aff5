-- GROUPING SETS of an updating aggregate, and what GROUPING says of them.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE MATERIALIZED VIEW v AS
SELECT product, n, GROUPING(product) AS no_product, GROUPING(n) AS no_n, COUNT(*) AS groups, SUM(total) AS total
FROM (SELECT customer, product, COUNT(*) AS n, SUM(price) AS total FROM orders GROUP BY customer, product) AS totals GROUP BY GROUPING SETS ((product), (n), (product, n), ());

SELECT * FROM v;
