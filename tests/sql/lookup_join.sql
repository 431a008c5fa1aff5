-- A table without event time is read whole before anything else.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3), asked AS PROCTIME(),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE TABLE products (
  product STRING, price DECIMAL(10, 2), since TIMESTAMP(3)
) WITH ('connector' = 'filesystem', 'path' = 'data/prices.csv', 'format' = 'csv');

SELECT o.order_id, o.product, p.price
FROM orders AS o
JOIN products FOR SYSTEM_TIME AS OF o.asked AS p ON o.product = p.product AND p.price < o.qty;
