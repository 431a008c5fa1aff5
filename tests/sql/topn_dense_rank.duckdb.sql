SELECT product, order_id, qty, rn
FROM (SELECT *, DENSE_RANK() OVER (PARTITION BY product ORDER BY qty NULLS FIRST) AS rn FROM orders) AS ranked
WHERE rn <= 2
