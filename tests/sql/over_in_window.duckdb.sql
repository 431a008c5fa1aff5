SELECT window_start, plus_ms(window_start, 1200000) AS window_end, order_id,
  SUM(qty) OVER (PARTITION BY window_start, product ORDER BY ts, order_id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS so_far,
  COUNT(*) OVER (PARTITION BY window_start) AS n,
  LEAD(order_id) OVER (PARTITION BY window_start ORDER BY price DESC NULLS LAST, order_id) AS next_cheaper
FROM (SELECT *, wstart(ts, 1200000, 0) AS window_start FROM orders)
