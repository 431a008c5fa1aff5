SELECT MAX(n) AS most, MIN(n) AS least, COUNT(DISTINCT n) AS kinds FROM (SELECT product, customer, COUNT(*) AS n FROM orders GROUP BY product, customer)
