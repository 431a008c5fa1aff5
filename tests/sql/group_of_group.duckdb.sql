SELECT n, COUNT(*) AS customers, SUM(total) AS total FROM (SELECT customer, COUNT(*) AS n, SUM(price) AS total FROM orders GROUP BY customer) GROUP BY n
