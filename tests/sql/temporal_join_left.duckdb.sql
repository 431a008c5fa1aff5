SELECT o.order_id, o.product, o.qty, p.price, p.since
FROM orders AS o ASOF LEFT JOIN prices AS p ON o.product = p.product AND o.ts >= p.since
