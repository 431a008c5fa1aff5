WITH packed AS (
  SELECT wstart(ts, 1800000, 0) AS window_start, COUNT(*) AS n FROM orders GROUP BY ALL
)
SELECT window_start, n, COUNT(order_id) AS plain, SUM(qty * price) AS total
FROM orders JOIN packed ON wstart(orders.ts, 1800000, 0) = packed.window_start
WHERE qty > 1 GROUP BY ALL
