SELECT wstart(ts, 20000, 0) AS window_start, window_end, SUM(v) AS v
FROM (SELECT *, unnest(cumulate_ends(ts, 20000, 5000, 0)) AS window_end FROM late_events)
WHERE time < window_end GROUP BY ALL
