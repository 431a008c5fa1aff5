-- Aggregates of expressions and expressions of aggregates.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT window_start, product, SUM(qty * price) AS total, SUM(CASE WHEN customer IS NULL THEN 1 ELSE 0 END) AS unknown, MAX(qty) - MIN(qty) AS spread, COUNT(*) * 10 AS tenfold
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '30' MINUTES))
GROUP BY window_start, window_end, product;
