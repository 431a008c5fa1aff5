SELECT o.order_id, o.until, s.carrier, s.ts
FROM (
  SELECT *, CASE WHEN qty > 1 THEN ts + INTERVAL '20' MINUTE ELSE ts + INTERVAL '2' HOUR END AS until
  FROM orders
) AS o
LEFT JOIN shipments AS s
ON o.order_id = s.order_id AND s.ts BETWEEN o.ts AND o.until
