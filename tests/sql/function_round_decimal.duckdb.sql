SELECT order_id, round(price, 1) AS r1, round(-price, 1) AS r2 FROM orders WHERE price IS NOT NULL
