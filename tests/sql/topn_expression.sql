-- Partition and order may be expressions.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, rn
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY UPPER(product) ORDER BY price * qty DESC NULLS LAST, order_id) AS rn FROM orders) AS ranked
WHERE rn <= 2;
