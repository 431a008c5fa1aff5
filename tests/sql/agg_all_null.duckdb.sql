SELECT COUNT(*) AS n, COUNT(qty) AS qtys, SUM(qty) AS s, MIN(qty) AS low, MAX(price) AS high,
       int_avg(qty) AS mean, string_agg(CAST(qty AS VARCHAR), ',') AS l
FROM orders WHERE qty IS NULL AND price IS NULL
