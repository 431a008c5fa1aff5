SELECT product, order_id, qty, rn
FROM (SELECT *, RANK() OVER (PARTITION BY product ORDER BY qty DESC NULLS LAST) AS rn FROM orders) AS ranked
WHERE rn <= 2
