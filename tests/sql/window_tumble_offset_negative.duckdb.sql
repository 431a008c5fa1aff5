SELECT wstart(ts, 600000, -180000) AS window_start,
       plus_ms(wstart(ts, 600000, -180000), 600000) AS window_end, COUNT(*) AS n
FROM orders GROUP BY ALL
