SELECT DISTINCT n % 2 AS parity FROM (SELECT COUNT(*) AS n FROM orders GROUP BY customer)
