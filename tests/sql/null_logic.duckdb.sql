SELECT order_id, qty > 4 AS gt, qty IS NULL AS missing, NOT (qty > 4) AS le,
       qty IN (1, 2, 3) AS few, qty NOT IN (1, 2, 3) AS not_few, customer IS DISTINCT FROM 'ann' AS other,
       CASE WHEN qty > 4 THEN 'many' WHEN qty <= 4 THEN 'few' END AS words,
       (qty > 4) IS NOT TRUE AS not_true, COALESCE(qty, -1) AS q, NULLIF(qty, 5) AS not_five
FROM orders WHERE NOT (qty > 4) OR qty IS NULL
