SELECT window_start, o.n AS ordered_n, s.n AS shipped_n, o.n - s.n AS difference
FROM (SELECT wstart(ts, 1200000, 0) AS window_start, COUNT(*) AS n FROM orders GROUP BY ALL) AS o
JOIN (SELECT wstart(ts, 1200000, 0) AS window_start, COUNT(*) AS n FROM shipments GROUP BY ALL) AS s
USING (window_start)
