SELECT customer, last FROM (SELECT customer, MAX(ts) AS last FROM orders GROUP BY customer) AS latest
WHERE last < (SELECT max(ts) FROM orders) - INTERVAL '10' MINUTE
