-- Windows over windows: ten-minute sums by product, then the best half hour by window_time.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE VIEW ten AS
SELECT window_start AS ws, window_end AS we, window_time AS rowtime, product, SUM(qty) AS qty
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '10' MINUTES))
GROUP BY window_start, window_end, window_time, product;

SELECT window_start, window_end, MAX(qty) AS best, COUNT(*) AS products
FROM TABLE(TUMBLE(TABLE ten, DESCRIPTOR(rowtime), INTERVAL '30' MINUTES))
GROUP BY window_start, window_end;
