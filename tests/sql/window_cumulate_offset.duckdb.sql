SELECT wstart(ts, 1800000, 600000) AS window_start, window_end, COUNT(*) AS n, MIN(price) AS low
FROM (SELECT *, unnest(cumulate_ends(ts, 1800000, 900000, 600000)) AS window_end FROM orders)
GROUP BY ALL
