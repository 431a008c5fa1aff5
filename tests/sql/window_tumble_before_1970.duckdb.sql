SELECT wstart(ts, 3600000, 0) AS window_start,
       plus_ms(wstart(ts, 3600000, 0), 3600000) AS window_end, COUNT(*) AS n, MIN(id) AS first_id
FROM old_events GROUP BY ALL
