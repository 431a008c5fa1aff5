SELECT order_id, price FROM orders ORDER BY price DESC NULLS LAST, order_id LIMIT 5
