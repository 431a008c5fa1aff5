SELECT window_start, COUNT(*) AS n, SUM(v) AS v
FROM (SELECT *, unnest(hop_starts(ts, 10000, 5000, 0)) AS window_start FROM late_events)
WHERE time < plus_ms(window_start, 10000) GROUP BY ALL
