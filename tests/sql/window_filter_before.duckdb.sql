SELECT wstart(ts, 1800000, 0) AS window_start, product, COUNT(*) AS n
FROM orders WHERE price > 20 AND product <> 'salt' GROUP BY ALL HAVING COUNT(*) > 1
