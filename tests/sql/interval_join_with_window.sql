-- Rows joined with the result of their window.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT w.window_end, o.order_id, o.price
FROM orders AS o
JOIN (
  SELECT window_start, window_end, MAX(price) AS most
  FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '20' MINUTES))
  GROUP BY window_start, window_end
) AS w
ON o.price = w.most AND o.ts >= w.window_start AND o.ts < w.window_end;
