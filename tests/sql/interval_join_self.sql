-- A self join: the same product ordered again within half an hour.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT a.order_id, b.order_id AS other_id, a.product
FROM orders AS a
JOIN orders AS b
ON a.product = b.product AND a.order_id <> b.order_id
WHERE b.ts > a.ts AND b.ts <= a.ts + INTERVAL '30' MINUTE;
