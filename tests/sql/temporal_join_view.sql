-- A view of the last row of each key is versioned: exact to the millisecond.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE TABLE price_log (
  product STRING, price DECIMAL(10, 2), since TIMESTAMP(3),
  WATERMARK FOR since AS since - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/prices.csv', 'format' = 'csv');

CREATE VIEW prices AS
SELECT product, price, since
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY product ORDER BY since DESC) AS place
  FROM price_log
)
WHERE place = 1;

SELECT o.order_id, o.product, o.qty, p.price, p.since
FROM orders AS o
LEFT JOIN prices FOR SYSTEM_TIME AS OF o.ts AS p ON o.product = p.product;
