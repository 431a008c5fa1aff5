SELECT window_start, plus_ms(window_start, 900000) AS window_end, COUNT(*) AS n, SUM(price) AS total
FROM (SELECT *, unnest(hop_starts(ts, 900000, 300000, 0)) AS window_start FROM orders)
GROUP BY ALL
