SELECT order_id, CAST(trunc(price) AS INTEGER) AS i, CAST(qty AS VARCHAR) AS s, order_id AS back,
       CAST(qty AS DECIMAL(10, 2)) AS d, CAST(price AS VARCHAR) AS p, CAST(NULL AS INTEGER) AS no, CAST(qty AS DOUBLE) AS f
FROM orders
