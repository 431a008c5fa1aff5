SELECT order_id, SUM(qty) OVER (PARTITION BY product ORDER BY ts, order_id ROWS 1 PRECEDING) AS two FROM orders
