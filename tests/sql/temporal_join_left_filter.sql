-- A condition in ON: a version that it takes away is NULL.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE TABLE prices (
  product STRING, price DECIMAL(10, 2), since TIMESTAMP(3),
  WATERMARK FOR since AS since - INTERVAL '5' MINUTE,
  PRIMARY KEY (product) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/prices.csv', 'format' = 'csv');

SELECT o.order_id, o.product, p.price
FROM orders AS o
LEFT JOIN prices FOR SYSTEM_TIME AS OF o.ts AS p
  ON o.product = p.product AND p.price < 1.25 AND o.price > p.price * 20;
