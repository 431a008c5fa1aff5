SELECT customer, order_id, product, ts, window_start, plus_ms(window_start, 1800000) AS window_end
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, customer ORDER BY ts ASC) AS rn
  FROM (SELECT *, wstart(ts, 1800000, 0) AS window_start FROM orders)
) WHERE rn = 1
