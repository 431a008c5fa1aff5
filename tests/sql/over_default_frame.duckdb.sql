SELECT order_id, product, ts, SUM(qty) OVER (PARTITION BY product ORDER BY ts) AS so_far,
  COUNT(*) OVER (PARTITION BY product ORDER BY ts, order_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS n
FROM orders
