SELECT product, COUNT(DISTINCT customer) AS customers, COUNT(DISTINCT customer) FILTER (WHERE qty > 4) AS big, SUM(DISTINCT qty) AS qty FROM orders GROUP BY product
