SELECT wstart(ts, 1800000, 0) AS window_start, product, SUM(qty * price) AS total, SUM(CASE WHEN customer IS NULL THEN 1 ELSE 0 END) AS unknown, MAX(qty) - MIN(qty) AS spread, COUNT(*) * 10 AS tenfold
FROM orders GROUP BY ALL
