-- FIRST_VALUE and LAST_VALUE go by the time of the last change of each row, also where only the
-- final contents are seen; that of a distinct row is when it first came.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT 'groups' AS what, product, FIRST_VALUE(c) AS first_customer, LAST_VALUE(c) AS last_customer
FROM (
  SELECT product, CONCAT(customer, CAST(COUNT(*) AS STRING)) AS c
  FROM orders WHERE customer IS NOT NULL GROUP BY product, customer
) AS g
GROUP BY product
UNION ALL
SELECT 'distinct' AS what, product, FIRST_VALUE(customer), LAST_VALUE(customer)
FROM (SELECT DISTINCT product, customer FROM orders) AS d
GROUP BY product;
