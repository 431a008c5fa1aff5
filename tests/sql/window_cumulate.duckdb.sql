SELECT wstart(ts, 3600000, 0) AS window_start, window_end, COUNT(*) AS n, SUM(price) AS total, COUNT(DISTINCT customer) AS customers
FROM (SELECT *, unnest(cumulate_ends(ts, 3600000, 600000, 0)) AS window_end FROM orders)
GROUP BY ALL
