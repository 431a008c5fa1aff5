SELECT a.order_id, b.order_id AS other_id, a.product
FROM orders AS a
JOIN orders AS b
ON a.product = b.product AND a.order_id <> b.order_id
WHERE b.ts > a.ts AND b.ts <= a.ts + INTERVAL '30' MINUTE
