SELECT customer, COUNT(*) AS n FROM orders GROUP BY customer
