-- An aggregate of an updating aggregate takes back what changed.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT n, COUNT(*) AS customers, SUM(total) AS total
FROM (SELECT customer, COUNT(*) AS n, SUM(price) AS total FROM orders GROUP BY customer) AS c
GROUP BY n;
