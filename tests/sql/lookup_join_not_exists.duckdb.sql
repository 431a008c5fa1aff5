SELECT order_id, product
FROM orders AS o
WHERE NOT EXISTS (SELECT 1 FROM prices AS p WHERE p.product = o.product)
