SELECT order_id,
  SUM(qty) OVER (PARTITION BY product ORDER BY ts) AS of_product,
  SUM(qty) OVER (PARTITION BY product ORDER BY ts, order_id ROWS 1 PRECEDING) AS of_two,
  COUNT(*) OVER (PARTITION BY customer ORDER BY ts) AS of_customer,
  SUM(qty * 2) OVER (PARTITION BY UPPER(product), customer ORDER BY ts) AS of_both
FROM orders
