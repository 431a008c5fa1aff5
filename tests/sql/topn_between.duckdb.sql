SELECT customer, order_id, rn
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY customer ORDER BY price DESC NULLS LAST, order_id) AS rn FROM orders) AS ranked
WHERE rn BETWEEN 2 AND 3
