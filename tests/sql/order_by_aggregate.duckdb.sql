SELECT customer, COUNT(*) AS n FROM orders GROUP BY customer ORDER BY COUNT(*) DESC, SUM(price) ASC LIMIT 3
