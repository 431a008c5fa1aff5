-- Sessions partitioned by two columns, one of them NULL at times.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT customer, product, window_start, window_end, SUM(price) AS total
FROM TABLE(SESSION(
  TABLE orders PARTITION BY (customer, product), DESCRIPTOR(ts), INTERVAL '15' MINUTE))
GROUP BY customer, product, window_start, window_end;
