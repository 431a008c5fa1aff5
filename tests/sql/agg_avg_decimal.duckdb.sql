SELECT wstart(ts, 1800000, 0) AS window_start, product, CAST(CAST(sum(price) AS DECIMAL(38, 8)) / count(price) AS DECIMAL(38, 6)) AS mean
FROM orders GROUP BY ALL
