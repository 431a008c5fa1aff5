-- Top-N of an updating aggregate: rows that were hidden come back.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT product, customer, total, rn
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY product ORDER BY total DESC NULLS LAST, customer NULLS FIRST) AS rn FROM (SELECT customer, product, COUNT(*) AS n, SUM(price) AS total FROM orders GROUP BY customer, product) AS totals) AS ranked
WHERE rn <= 2;
