-- Without an order the least rows are taken, by the whole row.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT customer, COUNT(*) AS n FROM (SELECT customer, qty FROM orders LIMIT 7) AS few GROUP BY customer;
