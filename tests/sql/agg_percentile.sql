-- Percentiles between and among values.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT product, PERCENTILE(price, 0.5) AS p50, PERCENTILE(qty, 0.9) AS p90, APPROX_PERCENTILE(qty, 0.25) AS p25,
       PERCENTILE_CONT(0.3) WITHIN GROUP (ORDER BY qty) AS cont,
       PERCENTILE_DISC(0.3) WITHIN GROUP (ORDER BY price) AS disc,
       PERCENTILE_DISC(0.3) WITHIN GROUP (ORDER BY customer DESC) AS disc_text
FROM orders GROUP BY product;
