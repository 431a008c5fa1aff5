SELECT order_id, customer FROM orders WHERE order_id > 1000
