-- Without the place in the output only rows that enter or leave are changes.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT product, order_id
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY product ORDER BY price DESC NULLS LAST, order_id) AS rn FROM orders) AS ranked
WHERE rn < 4;
