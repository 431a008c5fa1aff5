SELECT window_start, plus_ms(window_start, 600000) AS window_end, COUNT(*) AS n
FROM (SELECT *, unnest(hop_starts(ts, 600000, 300000, 60000)) AS window_start FROM orders)
GROUP BY ALL
