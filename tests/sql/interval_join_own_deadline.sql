-- Each row has a deadline of its own.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE TABLE shipments (
  order_id BIGINT, carrier STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/shipments.jsonl', 'format' = 'json');

SELECT o.order_id, o.until, s.carrier, s.ts
FROM (
  SELECT *, CASE WHEN qty > 1 THEN ts + INTERVAL '20' MINUTE ELSE ts + INTERVAL '2' HOUR END AS until
  FROM orders
) AS o
LEFT JOIN shipments AS s
ON o.order_id = s.order_id AND s.ts BETWEEN o.ts AND o.until;
