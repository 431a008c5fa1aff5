SELECT product, COUNT(*) AS n, SUM(qty) AS total FROM orders
WHERE ts >= (SELECT max(ts) FROM orders) - INTERVAL '20' MINUTE GROUP BY product
