-- Places by a value without a filter on them.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, product, qty, ROW_NUMBER() OVER (PARTITION BY product ORDER BY qty DESC) AS n,
  RANK() OVER (PARTITION BY product ORDER BY qty DESC) AS place,
  DENSE_RANK() OVER (PARTITION BY product ORDER BY qty DESC) AS dense
FROM orders WHERE qty IS NOT NULL;
