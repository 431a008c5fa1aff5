SELECT wstart(ts, 1800000, 0) AS window_start, product, COUNT(*) FILTER (WHERE qty > 4) AS many, SUM(price) FILTER (WHERE customer = 'bob') AS bob, MAX(qty) FILTER (WHERE price < 30) AS q, COUNT(DISTINCT customer) FILTER (WHERE qty >= 5) AS customers
FROM orders GROUP BY ALL
