SELECT customer, order_id, ts
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY customer ORDER BY ts DESC, order_id DESC) AS rn FROM orders) AS ranked
WHERE rn = 1
