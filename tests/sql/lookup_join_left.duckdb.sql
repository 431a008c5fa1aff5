SELECT o.order_id, o.product, p.price
FROM orders AS o LEFT JOIN prices AS p ON o.product = p.product AND p.price > 1.05
