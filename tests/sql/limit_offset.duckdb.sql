SELECT customer, product, n, total FROM (SELECT customer, product, COUNT(*) AS n, SUM(price) AS total FROM orders GROUP BY customer, product) AS totals
ORDER BY n DESC, total DESC NULLS LAST, customer NULLS FIRST, product LIMIT 3 OFFSET 2
