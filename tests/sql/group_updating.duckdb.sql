SELECT product, COUNT(*) AS n, SUM(price) AS total, MIN(qty) AS low, MAX(ts) AS latest FROM orders GROUP BY product
