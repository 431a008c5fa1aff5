-- A bound that is no whole number, or not compared as a number.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT customer, order_id, rn, 'fraction' AS bound
FROM (
  SELECT customer, order_id, ROW_NUMBER() OVER (
           PARTITION BY customer ORDER BY price DESC, order_id) AS rn
  FROM orders
) AS numbered
WHERE rn >= 1.5 AND rn < 3.5
UNION ALL
SELECT customer, order_id, rn, 'text' AS bound
FROM (
  SELECT customer, order_id, ROW_NUMBER() OVER (
           PARTITION BY customer ORDER BY price DESC, order_id) AS rn
  FROM orders
) AS numbered
WHERE CAST(rn AS STRING) < '11';
