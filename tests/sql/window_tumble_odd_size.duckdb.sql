SELECT wstart(ts, 7000, 0) AS window_start,
       plus_ms(wstart(ts, 7000, 0), 7000) AS window_end, COUNT(*) AS n
FROM clicks GROUP BY ALL
