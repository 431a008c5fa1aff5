SELECT window_start, customer, GROUPING(customer) AS is_total, COUNT(*) AS n
FROM (SELECT *, wstart(ts, 3600000, 0) AS window_start FROM orders)
GROUP BY window_start, GROUPING SETS ((customer), ())
