SELECT product, string_agg(order_id, ',' ORDER BY ts, CAST(order_id AS VARCHAR)) AS ids, string_agg(price, ';' ORDER BY ts, CAST(price AS VARCHAR)) AS prices,
  (SELECT string_agg(qty, '/' ORDER BY first_ts, CAST(qty AS VARCHAR)) FROM (SELECT qty, MIN(ts) AS first_ts FROM orders AS o WHERE o.ts < TIMESTAMP '2024-03-01 09:30:00' AND o.product = early.product GROUP BY qty)) AS quantities
FROM (SELECT * FROM orders WHERE ts < TIMESTAMP '2024-03-01 09:30:00') AS early GROUP BY product
