SELECT customer, product FROM orders ORDER BY price * qty DESC NULLS LAST, order_id LIMIT 4
