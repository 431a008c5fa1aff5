SELECT product, COUNT(*) AS n FROM orders GROUP BY product
