-- BROADCAST: every worker has the whole table, and the rows that meet it stay where they are.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3), asked AS PROCTIME(),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE TABLE products (
  product STRING, price DECIMAL(10, 2), since TIMESTAMP(3)
) WITH ('connector' = 'filesystem', 'path' = 'data/prices.csv', 'format' = 'csv');

CREATE VIEW cheap AS SELECT product, MIN(price) AS price FROM products GROUP BY product;

SELECT /*+ BROADCAST(p), PARALLELISM(2) */ 'inner' AS what, o.customer, o.product, COUNT(*) AS n, MAX(p.price) AS price
FROM orders AS o JOIN products FOR SYSTEM_TIME AS OF o.asked AS p
ON o.product = p.product AND p.price < o.qty
GROUP BY o.customer, o.product
UNION ALL
SELECT /*+ BROADCAST(cheap) */ 'left', o.customer, o.product, o.order_id, cheap.price
FROM orders AS o LEFT JOIN cheap ON o.product = cheap.product AND cheap.price > 1.05
UNION ALL
SELECT /*+ BROADCAST(products) */ 'right', CAST(NULL AS STRING), t.product, t.n, products.price
FROM products
RIGHT JOIN (SELECT product, COUNT(*) AS n FROM orders GROUP BY product) AS t
ON products.product = t.product AND products.price > 1
UNION ALL
SELECT /*+ BROADCAST(rates) */ 'every', o.customer, rates.name, COUNT(*), SUM(o.price * rates.rate)
FROM orders AS o CROSS JOIN (VALUES ('half', 0.5), ('all', 1.0)) AS rates (name, rate)
GROUP BY o.customer, rates.name;
