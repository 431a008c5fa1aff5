SELECT window_start, plus_ms(window_start, 3600000) AS window_end, COUNT(*) AS n
FROM (SELECT *, unnest(hop_starts(ts, 3600000, 1500000, 0)) AS window_start FROM old_events)
GROUP BY ALL
