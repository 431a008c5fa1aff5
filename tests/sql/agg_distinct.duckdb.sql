SELECT wstart(ts, 1800000, 0) AS window_start, product, COUNT(DISTINCT customer) AS customers, COUNT(DISTINCT qty) AS qtys, SUM(DISTINCT qty) AS qty, MIN(DISTINCT qty) AS low, CAST(trunc(sum(DISTINCT qty) / count(DISTINCT qty)) AS BIGINT) AS mean
FROM orders GROUP BY ALL
