SELECT customer, COUNT(*) AS n FROM (SELECT customer, qty FROM orders ORDER BY customer NULLS FIRST, qty NULLS FIRST LIMIT 7) AS few GROUP BY customer
