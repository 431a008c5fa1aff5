SELECT place, COUNT(*) AS n, MAX(total) AS most FROM (
  SELECT product, RANK() OVER (PARTITION BY product ORDER BY SUM(qty) DESC) AS place, SUM(qty) AS total
  FROM orders GROUP BY product, customer
) AS ranked GROUP BY place
