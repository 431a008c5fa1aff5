SELECT product, SUM(qty) AS qty FROM orders GROUP BY product
