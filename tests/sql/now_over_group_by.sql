-- A filter on NOW() over rows that change.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT customer, last FROM (SELECT customer, MAX(ts) AS last FROM orders GROUP BY customer) AS latest
WHERE last < NOW() - INTERVAL '10' MINUTE;
