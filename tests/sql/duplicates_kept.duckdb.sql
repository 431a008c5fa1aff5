SELECT product FROM orders WHERE order_id <= 12
