-- LEFT interval join: shipped within 40 minutes of the order.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE TABLE shipments (
  order_id BIGINT, carrier STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/shipments.jsonl', 'format' = 'json');

SELECT o.order_id, o.customer, o.ts, s.order_id AS shipped_id, s.carrier, s.ts AS shipped_at
FROM orders AS o
LEFT JOIN shipments AS s
ON o.order_id = s.order_id AND s.ts BETWEEN o.ts AND o.ts + INTERVAL '40' MINUTE;
