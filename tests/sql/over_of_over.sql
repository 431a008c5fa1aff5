-- OVER of OVER, and a filter on its result.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, product, change, SUM(change) OVER (PARTITION BY product ORDER BY ts ROWS 3 PRECEDING) AS of_four
FROM (
  SELECT order_id, product, ts, qty - LAG(qty, 1, 0) OVER (PARTITION BY product ORDER BY ts) AS change FROM orders
) AS changes
WHERE change <> 0;
