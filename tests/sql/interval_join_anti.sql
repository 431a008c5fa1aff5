-- Anti interval join: orders that were not shipped within 40 minutes.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE TABLE shipments (
  order_id BIGINT, carrier STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/shipments.jsonl', 'format' = 'json');

SELECT o.order_id, o.customer
FROM orders AS o
WHERE NOT EXISTS (
  SELECT 1 FROM shipments AS s
  WHERE s.order_id = o.order_id AND s.ts >= o.ts AND s.ts <= o.ts + INTERVAL '40' MINUTE
);
