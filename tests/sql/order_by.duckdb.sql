SELECT customer, qty, order_id FROM orders ORDER BY customer DESC NULLS LAST, qty NULLS FIRST, order_id DESC
