SELECT window_start, product, order_id, price, rn
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start ORDER BY qty ASC NULLS FIRST, order_id ASC) AS rn
  FROM (SELECT *, wstart(ts, 1200000, 0) AS window_start FROM orders)
)
WHERE rn <= 2
