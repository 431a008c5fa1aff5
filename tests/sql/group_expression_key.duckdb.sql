SELECT order_id % 3 AS m, qty > 4 AS many, COUNT(*) AS n FROM orders GROUP BY ALL
