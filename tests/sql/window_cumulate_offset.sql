-- Cumulating windows shifted by ten minutes.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT window_start, window_end, COUNT(*) AS n, MIN(price) AS low
FROM TABLE(CUMULATE(TABLE orders, DESCRIPTOR(ts), INTERVAL '15' MINUTES, INTERVAL '30' MINUTES, INTERVAL '10' MINUTES))
GROUP BY window_start, window_end;
