SELECT wstart(ts, 1800000, 0) AS window_start, product, MIN(qty) AS q0, MAX(qty) AS q1, MIN(price) AS p0, MAX(price) AS p1, MIN(customer) AS c0, MAX(customer) AS c1, MIN(ts) AS t0, MAX(ts) AS t1
FROM orders GROUP BY ALL
