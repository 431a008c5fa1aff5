SELECT product AS p, qty * 2 AS q FROM orders WHERE qty > 8
