-- Rows that the table does not have.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE TABLE products (
  product STRING, price DECIMAL(10, 2), since TIMESTAMP(3)
) WITH ('connector' = 'filesystem', 'path' = 'data/prices.csv', 'format' = 'csv');

SELECT order_id, product
FROM orders AS o
WHERE NOT EXISTS (SELECT 1 FROM products AS p WHERE p.product = o.product);
