SELECT wstart(ts, 1800000, 0) AS window_start, SUM(qty * price) AS worth FROM orders GROUP BY ALL
