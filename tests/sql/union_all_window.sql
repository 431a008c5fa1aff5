-- A window over a union of two tables; the slower one holds the windows open.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE TABLE shipments (
  order_id BIGINT, carrier STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/shipments.jsonl', 'format' = 'json');

CREATE VIEW both_kinds AS
SELECT 'order' AS kind, ts FROM orders
UNION ALL
SELECT 'shipment' AS kind, ts FROM shipments;

SELECT window_start, kind, COUNT(*) AS n
FROM TABLE(TUMBLE(TABLE both_kinds, DESCRIPTOR(ts), INTERVAL '30' MINUTES))
GROUP BY window_start, window_end, kind;
