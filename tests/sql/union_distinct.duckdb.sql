SELECT product FROM orders UNION SELECT customer FROM orders
