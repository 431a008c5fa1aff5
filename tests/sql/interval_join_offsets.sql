-- Bounds over columns with constant offsets, strict, either way round, beside another condition.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE TABLE shipments (
  order_id BIGINT, carrier STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/shipments.jsonl', 'format' = 'json');

SELECT o.order_id, o.customer, o.product, s.carrier, s.due
FROM (SELECT order_id, carrier, ts - INTERVAL '1' MINUTE AS due FROM shipments) AS s
JOIN (SELECT *, ts + INTERVAL '5' MINUTE AS packed FROM orders) AS o
ON o.packed < s.due AND s.due - INTERVAL '1' HOUR < o.ts AND o.order_id = s.order_id AND o.qty < 8;
