SELECT DISTINCT product, n FROM (SELECT customer, product, COUNT(*) AS n, SUM(price) AS total FROM orders GROUP BY customer, product) AS totals
