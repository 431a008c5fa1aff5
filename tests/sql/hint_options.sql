-- OPTIONS behind a table's name: other options, for this place alone; the name stays.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3), total AS qty * price,
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT packed.window_start, packed.n, COUNT(orders.order_id) AS plain, SUM(orders.total) AS total
FROM orders
JOIN (
  SELECT window_start, window_end, COUNT(*) AS n
  FROM TABLE(TUMBLE(
    TABLE orders /*+ OPTIONS('path' = 'data/orders.parquet', 'format' = 'parquet') */,
    DESCRIPTOR(ts), INTERVAL '30' MINUTES))
  GROUP BY window_start, window_end
) AS packed ON orders.ts >= packed.window_start AND orders.ts < packed.window_end
WHERE orders.order_id IN (
  SELECT orders.order_id FROM orders /*+ OPTIONS(
    'path' = 'data/orders.jsonl.gz'
  ) */ WHERE orders.qty > 1
)
GROUP BY packed.window_start, packed.n;
