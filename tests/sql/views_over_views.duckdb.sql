WITH priced AS (SELECT customer AS who, qty * price AS worth FROM orders WHERE customer IS NOT NULL)
SELECT who, SUM(worth) AS worth, 'sum' AS kind FROM priced GROUP BY who
UNION ALL SELECT who, MAX(worth), 'max' FROM priced GROUP BY who
