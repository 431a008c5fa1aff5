SELECT order_id, price, ts FROM orders WHERE price < 20
