-- An aggregate as of each row's time, by ticks of the time resolution.

SET 'time_resolution' = '1 ms';

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
SELECT product, COUNT(*) AS changes, MAX(price) AS highest FROM price_log GROUP BY product;

SELECT o.order_id, p.changes, p.highest
FROM orders AS o
JOIN prices FOR SYSTEM_TIME AS OF o.ts AS p ON o.product = p.product;
