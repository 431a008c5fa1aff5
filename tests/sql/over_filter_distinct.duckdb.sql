SELECT order_id, COUNT(DISTINCT product) OVER (ORDER BY ts, order_id ROWS 4 PRECEDING) AS kinds,
  COUNT(*) FILTER (WHERE qty > 2) OVER (ORDER BY ts, order_id ROWS 4 PRECEDING) AS large,
  STDDEV_POP(qty) OVER (ORDER BY ts, order_id ROWS 1 PRECEDING) AS spread
FROM orders
