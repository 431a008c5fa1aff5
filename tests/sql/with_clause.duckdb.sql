SELECT customer, SUM(qty) AS qty FROM orders GROUP BY customer HAVING SUM(qty) > 20
