SELECT plus_ms(wstart(ts, 10000, 0), 10000) AS window_end, COUNT(*) AS n
FROM late_events WHERE time >= plus_ms(wstart(ts, 10000, 0), 10000) GROUP BY ALL
