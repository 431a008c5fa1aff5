SELECT order_id, rn
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY UPPER(product) ORDER BY price * qty DESC NULLS LAST, order_id) AS rn FROM orders) AS ranked
WHERE rn <= 2
