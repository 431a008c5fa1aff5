SELECT order_id, product, change, SUM(change) OVER (PARTITION BY product ORDER BY ts, order_id ROWS 3 PRECEDING) AS of_four
FROM (
  SELECT order_id, product, ts, qty - LAG(qty, 1, 0) OVER (PARTITION BY product ORDER BY ts, order_id) AS change FROM orders
) AS changes
WHERE change <> 0
