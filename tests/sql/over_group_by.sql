-- Over sums that change.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT customer, product, total,
  SUM(total) OVER (PARTITION BY customer ORDER BY total DESC, product ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS two,
  SUM(total) OVER (PARTITION BY customer ORDER BY total DESC) AS so_far,
  RANK() OVER (PARTITION BY customer ORDER BY total DESC) AS place
FROM (SELECT customer, product, SUM(qty) AS total FROM orders GROUP BY customer, product) AS sums;
