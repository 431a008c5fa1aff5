SELECT window_start, plus_ms(window_start, 240000) AS window_end, COUNT(*) AS n
FROM (SELECT *, unnest(hop_starts(ts, 240000, 600000, 0)) AS window_start FROM orders)
GROUP BY ALL
