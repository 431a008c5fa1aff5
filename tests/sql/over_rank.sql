-- Places by row-time without a filter on them.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, customer, ROW_NUMBER() OVER (PARTITION BY customer ORDER BY ts) AS n,
  RANK() OVER (PARTITION BY customer ORDER BY ts) AS place, DENSE_RANK() OVER (PARTITION BY customer ORDER BY ts) AS dense
FROM orders;
