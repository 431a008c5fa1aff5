SELECT order_id
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY product ORDER BY price) AS rn FROM (SELECT * FROM orders WHERE order_id < 0) AS none) AS ranked
WHERE rn <= 3
