SELECT o.order_id, COUNT(*) AS changes, MAX(p.price) AS highest
FROM orders AS o JOIN prices AS p ON o.product = p.product AND o.ts >= p.since
GROUP BY o.order_id
