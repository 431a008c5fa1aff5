-- Aggregates of OVER, and OVER of aggregates.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT place, COUNT(*) AS n, MAX(total) AS most FROM (
  SELECT product, RANK() OVER (PARTITION BY product ORDER BY SUM(qty) DESC) AS place, SUM(qty) AS total
  FROM orders GROUP BY product, customer
) AS ranked GROUP BY place;
