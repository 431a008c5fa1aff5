SELECT product, customer, n, rn
FROM (SELECT *, RANK() OVER (PARTITION BY product ORDER BY n DESC) AS rn FROM (SELECT customer, product, COUNT(*) AS n, SUM(price) AS total FROM orders GROUP BY customer, product) AS totals) AS ranked
WHERE rn <= 2
