SELECT wstart(ts, 7200000, 0) AS window_start, window_end, COUNT(*) AS n
FROM (SELECT *, unnest(cumulate_ends(ts, 7200000, 1800000, 0)) AS window_end FROM old_events)
GROUP BY ALL
