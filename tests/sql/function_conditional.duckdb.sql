SELECT order_id, CASE WHEN qty > 4 THEN 'many' ELSE 'few' END AS i, CASE product WHEN 'tea' THEN 1 WHEN 'milk' THEN 2 ELSE 0 END AS c,
       coalesce(customer, product, 'x') AS co, nullif(product, 'tea') AS nu, coalesce(qty, 0) AS n0
FROM orders
