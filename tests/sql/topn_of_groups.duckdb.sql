SELECT product, customer, total, rn
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY product ORDER BY total DESC NULLS LAST, customer NULLS FIRST) AS rn FROM (SELECT customer, product, COUNT(*) AS n, SUM(price) AS total FROM orders GROUP BY customer, product) AS totals) AS ranked
WHERE rn <= 2
