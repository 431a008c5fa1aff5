SELECT o.order_id, s.order_id AS shipped_id
FROM orders AS o
JOIN shipments AS s
ON s.ts BETWEEN o.ts - INTERVAL '1' MINUTE AND o.ts + INTERVAL '1' MINUTE
