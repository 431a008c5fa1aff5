-- A plain join with such a table is one, too; it keeps nothing of an updating side.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE TABLE products (
  product STRING, price DECIMAL(10, 2), since TIMESTAMP(3)
) WITH ('connector' = 'filesystem', 'path' = 'data/prices.csv', 'format' = 'csv');

SELECT t.product, t.n, p.price
FROM products AS p
RIGHT JOIN (SELECT product, COUNT(*) AS n FROM orders GROUP BY product) AS t
ON p.product = t.product AND p.price > 1;
