SELECT order_id FROM orders WHERE CAST(ts AS DATE) = CAST((SELECT max(ts) FROM orders) AS DATE) AND qty > 5
