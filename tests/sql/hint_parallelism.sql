-- PARALLELISM in every block that may have it: a view, a WITH query, a subquery, sides of a union,
-- and the statement.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE VIEW by_product AS
SELECT /*+ PARALLELISM(3) */ product, COUNT(*) AS n, SUM(qty) AS pieces
FROM orders GROUP BY product;

WITH spent AS (
  SELECT /*+ PARALLELISM(2) */ customer, product, SUM(qty * price) AS total
  FROM orders GROUP BY customer, product
)
SELECT /*+ PARALLELISM(2) */ best.customer, best.product, best.total, p.n, p.pieces
FROM (
  SELECT customer, product, total
  FROM (
    SELECT /*+ PARALLELISM(1) */ customer, product, total,
      ROW_NUMBER() OVER (PARTITION BY customer ORDER BY total DESC, product) AS place
    FROM spent
  )
  WHERE place <= 2
) AS best
JOIN by_product AS p ON p.product = best.product
UNION ALL
SELECT /*+ PARALLELISM(100) */ customer, 'all', SUM(total), COUNT(*), MAX(0)
FROM spent GROUP BY customer
UNION ALL
SELECT customer, 'rows', MAX(price), COUNT(DISTINCT product), MAX(1) FROM orders GROUP BY customer;
