SELECT o.order_id, o.qty * p.price AS total, p.since
FROM orders AS o ASOF JOIN prices AS p ON o.product = p.product AND o.ts >= p.since
