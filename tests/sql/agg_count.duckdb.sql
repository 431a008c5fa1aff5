SELECT wstart(ts, 1800000, 0) AS window_start, product, COUNT(*) AS n, COUNT(qty) AS qtys, COUNT(customer) AS customers
FROM orders GROUP BY ALL
