-- Over the results of windows, by their time.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT product, window_time, total,
  SUM(total) OVER (PARTITION BY product ORDER BY window_time) AS so_far,
  total - LAG(total, 1, 0) OVER (PARTITION BY product ORDER BY window_time) AS more
FROM (
  SELECT product, window_time, CAST(SUM(qty) AS BIGINT) AS total
  FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '10' MINUTES)) GROUP BY product, window_start, window_end, window_time) AS sums;
