-- FILTER and DISTINCT of aggregates over frames.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, COUNT(DISTINCT product) OVER (ORDER BY ts ROWS 4 PRECEDING) AS kinds,
  COUNT(*) FILTER (WHERE qty > 2) OVER (ORDER BY ts ROWS 4 PRECEDING) AS large,
  STDDEV_POP(qty) OVER (ORDER BY ts ROWS 1 PRECEDING) AS spread
FROM orders;
