SELECT customer, product, SUM(qty) AS qty FROM orders GROUP BY GROUPING SETS ((customer), (product), ())
