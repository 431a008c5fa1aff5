SELECT wstart(ts, 10000, 0) AS window_start, plus_ms(window_start, 10000) AS window_end, SUM(v) AS v
FROM late_events WHERE time < plus_ms(wstart(ts, 10000, 0), 14000) GROUP BY ALL
