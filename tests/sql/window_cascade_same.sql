-- An aggregate of a windowed aggregate over the same window.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT window_start, window_end, MAX(n) AS most, MIN(n) AS least, COUNT(*) AS customers
FROM (
  SELECT window_start, window_end, customer, COUNT(*) AS n
  FROM TABLE(HOP(TABLE orders, DESCRIPTOR(ts), INTERVAL '10' MINUTES, INTERVAL '20' MINUTES))
  GROUP BY window_start, window_end, customer
) AS per_customer
GROUP BY window_start, window_end;
