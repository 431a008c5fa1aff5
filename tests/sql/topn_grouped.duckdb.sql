SELECT customer, COUNT(*) AS n, SUM(price) AS total
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY product ORDER BY price DESC NULLS LAST, order_id) AS rn FROM orders) AS ranked
WHERE rn <= 2 GROUP BY customer
