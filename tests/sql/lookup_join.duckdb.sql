SELECT o.order_id, o.product, p.price
FROM orders AS o JOIN prices AS p ON o.product = p.product AND p.price < o.qty
