-- A limit with an offset, of an updating aggregate.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE MATERIALIZED VIEW middle AS
SELECT customer, product, n, total FROM (SELECT customer, product, COUNT(*) AS n, SUM(price) AS total FROM orders GROUP BY customer, product) AS totals
ORDER BY n DESC, total DESC NULLS LAST, customer NULLS FIRST, product LIMIT 3 OFFSET 2;

SELECT * FROM middle;
