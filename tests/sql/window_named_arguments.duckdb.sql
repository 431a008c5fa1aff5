SELECT wstart(ts, 1200000, 0) AS window_start, COUNT(*) AS n FROM orders GROUP BY ALL
