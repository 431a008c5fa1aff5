SELECT wstart(ts, 86400000, -28800000) AS window_start,
       plus_ms(wstart(ts, 86400000, -28800000), 86400000) AS window_end, COUNT(*) AS n
FROM old_events GROUP BY ALL
