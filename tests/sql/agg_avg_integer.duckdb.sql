SELECT wstart(ts, 1800000, 0) AS window_start, product, int_avg(qty) AS mean, int_avg(2 - qty) AS mean_negative
FROM orders GROUP BY ALL
