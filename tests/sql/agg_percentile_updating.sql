-- Percentiles and medians of values that are taken back.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE MATERIALIZED VIEW v AS
SELECT product, PERCENTILE(total, 0.5) AS p50, PERCENTILE_DISC(0.5) WITHIN GROUP (ORDER BY n) AS disc,
       MEDIAN(CAST(total AS DOUBLE)) AS mid
FROM (SELECT customer, product, COUNT(*) AS n, SUM(price) AS total FROM orders GROUP BY customer, product) AS totals GROUP BY product;

SELECT * FROM v;
