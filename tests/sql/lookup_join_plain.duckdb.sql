SELECT t.product, t.n, p.price
FROM prices AS p
RIGHT JOIN (SELECT product, COUNT(*) AS n FROM orders GROUP BY product) AS t
ON p.product = t.product AND p.price > 1
