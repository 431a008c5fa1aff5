SELECT customer, product, n, DENSE_RANK() OVER (ORDER BY n DESC) AS place FROM (SELECT customer, product, COUNT(*) AS n, SUM(price) AS total FROM orders GROUP BY customer, product) AS totals
