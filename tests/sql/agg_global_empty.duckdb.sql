SELECT COUNT(*) AS n, SUM(qty) AS qty FROM orders WHERE order_id < 0
