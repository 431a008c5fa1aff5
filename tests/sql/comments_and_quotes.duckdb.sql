SELECT order_id AS "order", product AS "the `product`", 'it''s; -- fine' AS "text"
FROM orders WHERE customer = 'ann'
