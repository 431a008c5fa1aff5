SELECT wstart(ts, 600000, 0) AS window_start, product, COUNT(*) AS n FROM orders GROUP BY ALL
