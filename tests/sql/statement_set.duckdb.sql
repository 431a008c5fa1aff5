SELECT product, MAX(qty) AS most FROM orders GROUP BY product
