SELECT order_id, customer,
  SUM(qty) OVER (PARTITION BY customer ORDER BY ts, order_id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS rest,
  SUM(price) OVER (PARTITION BY customer) AS whole,
  COUNT(*) OVER () AS everything,
  MAX(price) OVER (PARTITION BY customer ORDER BY ts, order_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING) AS so_far
FROM orders
