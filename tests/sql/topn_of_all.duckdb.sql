SELECT product, order_id, price, rn
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY product ORDER BY price DESC NULLS LAST, order_id) AS rn FROM orders) AS ranked
WHERE rn <= 2
