SELECT product, COUNT(*) AS n, SUM(qty) AS qty FROM orders GROUP BY product HAVING COUNT(*) > 5
