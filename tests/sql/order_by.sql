-- ORDER BY with directions; NULL comes first when ascending and last when descending, as in Flink.
-- ordered

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT customer, qty, order_id FROM orders ORDER BY customer DESC, qty, order_id DESC;
