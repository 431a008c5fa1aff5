-- OVER within windows comes when the window closes.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT window_start, window_end, order_id,
  SUM(qty) OVER (PARTITION BY window_start, window_end, product ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS so_far,
  COUNT(*) OVER (PARTITION BY window_start, window_end) AS n,
  LEAD(order_id) OVER (PARTITION BY window_start, window_end ORDER BY price DESC, order_id) AS next_cheaper
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '20' MINUTES));
