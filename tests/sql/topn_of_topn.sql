-- A top-N of a top-N.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE MATERIALIZED VIEW v AS
SELECT product, order_id, price FROM (
  SELECT *, ROW_NUMBER() OVER (ORDER BY price DESC NULLS LAST, order_id) AS place FROM (
SELECT product, order_id, price
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY product ORDER BY price DESC NULLS LAST, order_id) AS rn FROM orders) AS ranked
WHERE rn = 1
  ) AS first_ones
) AS placed WHERE place <= 3;

SELECT * FROM v;
