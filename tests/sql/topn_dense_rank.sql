-- Orders that tie share a rank, without gaps; NULL is a value of its own.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT product, order_id, qty, rn
FROM (SELECT *, DENSE_RANK() OVER (PARTITION BY product ORDER BY qty NULLS FIRST) AS rn FROM orders) AS ranked
WHERE rn <= 2;
