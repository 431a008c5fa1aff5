-- The same as a view: changes as they come.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE MATERIALIZED VIEW best AS
SELECT product, customer, total
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY product ORDER BY total DESC NULLS LAST, customer NULLS FIRST) AS rn FROM (SELECT customer, product, COUNT(*) AS n, SUM(price) AS total FROM orders GROUP BY customer, product) AS totals) AS ranked
WHERE rn = 1;

SELECT * FROM best;
