SELECT o.order_id, o.customer
FROM orders AS o
WHERE NOT EXISTS (
  SELECT 1 FROM shipments AS s
  WHERE s.order_id = o.order_id AND s.ts >= o.ts AND s.ts <= o.ts + INTERVAL '40' MINUTE
)
