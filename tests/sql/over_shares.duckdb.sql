SELECT order_id, product, qty, PERCENT_RANK() OVER (PARTITION BY product ORDER BY qty) AS percent,
  CUME_DIST() OVER (PARTITION BY product ORDER BY qty) AS share,
  NTILE(3) OVER (PARTITION BY product ORDER BY qty, order_id) AS third
FROM orders WHERE qty IS NOT NULL
