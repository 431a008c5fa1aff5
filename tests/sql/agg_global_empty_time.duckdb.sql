SELECT 'none' AS what, count(*) AS n FROM orders WHERE qty > 1000 UNION ALL SELECT 'order', order_id FROM orders
