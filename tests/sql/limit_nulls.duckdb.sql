SELECT * FROM (SELECT qty, order_id FROM orders ORDER BY qty NULLS FIRST, order_id LIMIT 3) AS a
UNION ALL
SELECT * FROM (SELECT qty, order_id FROM orders ORDER BY qty DESC NULLS LAST, order_id LIMIT 3) AS b
UNION ALL
SELECT * FROM (SELECT qty, order_id FROM orders ORDER BY qty DESC NULLS FIRST, order_id LIMIT 3) AS c
