SELECT wstart(ts, 60000, 0) AS window_start,
       plus_ms(wstart(ts, 60000, 0), 60000) AS window_end, COUNT(*) AS n, COUNT(temp) AS temps, MIN(temp) AS low, MAX(temp) AS high
FROM readings GROUP BY ALL
