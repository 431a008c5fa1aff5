SELECT o.order_id, o.customer, o.product, s.carrier, s.due
FROM (SELECT order_id, carrier, ts - INTERVAL '1' MINUTE AS due FROM shipments) AS s
JOIN (SELECT *, ts + INTERVAL '5' MINUTE AS packed FROM orders) AS o
ON o.packed < s.due AND s.due - INTERVAL '1' HOUR < o.ts AND o.order_id = s.order_id AND o.qty < 8
