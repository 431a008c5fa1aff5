SELECT order_id FROM (SELECT order_id, price FROM orders ORDER BY price DESC NULLS LAST, order_id LIMIT 9) AS nine ORDER BY order_id LIMIT 4
