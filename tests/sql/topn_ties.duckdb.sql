SELECT qty, order_id
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY qty ORDER BY product, qty, order_id) AS rn FROM (SELECT qty, order_id, product FROM orders)) AS ranked
WHERE rn <= 2
