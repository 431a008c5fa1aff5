SELECT o.order_id, o.customer, o.ts, s.order_id AS shipped_id, s.carrier, s.ts AS shipped_at
FROM orders AS o
INNER JOIN shipments AS s
ON o.order_id = s.order_id AND s.ts BETWEEN o.ts AND o.ts + INTERVAL '40' MINUTE
