SELECT window_start, customer, product, COUNT(*) AS n, SUM(qty) AS qty
FROM (SELECT *, wstart(ts, 3600000, 0) AS window_start FROM orders)
GROUP BY window_start, CUBE (product, customer)
