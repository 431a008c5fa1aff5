-- UNION ALL of two tables keeps equal rows.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE TABLE shipments (
  order_id BIGINT, carrier STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/shipments.jsonl', 'format' = 'json');

SELECT order_id, customer AS who, ts FROM orders WHERE order_id < 8
UNION ALL
SELECT order_id, carrier, ts FROM shipments
UNION ALL
SELECT order_id, carrier, ts FROM shipments WHERE carrier = 'air';
