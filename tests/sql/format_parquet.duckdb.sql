SELECT order_id, customer, product, qty, price, ts FROM orders
