SELECT customer, COUNT(*) AS n, COUNT(s.order_id) AS shipped
FROM orders AS o
LEFT JOIN shipments AS s
ON o.order_id = s.order_id AND s.ts BETWEEN o.ts AND o.ts + INTERVAL '40' MINUTE
GROUP BY customer
