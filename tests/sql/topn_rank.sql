-- Orders that tie share a rank, and gaps follow.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT product, order_id, qty, rn
FROM (SELECT *, RANK() OVER (PARTITION BY product ORDER BY qty DESC NULLS LAST) AS rn FROM orders) AS ranked
WHERE rn <= 2;
