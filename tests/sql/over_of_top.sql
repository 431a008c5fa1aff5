-- OVER of the best rows of each key, which change.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT customer, product, price,
  AVG(price) OVER (PARTITION BY customer ORDER BY ts, order_id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS mean
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY customer, product ORDER BY price DESC, order_id) AS rn
  FROM orders WHERE price IS NOT NULL
) AS ranked WHERE rn = 1;
