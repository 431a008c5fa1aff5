SELECT order_id, SUM(qty) OVER (ORDER BY ts ROWS 2 PRECEDING) AS near, COUNT(*) OVER () AS n
FROM orders WHERE qty > 1000
