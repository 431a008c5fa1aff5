SELECT order_id, product, qty, ROW_NUMBER() OVER (PARTITION BY product ORDER BY qty DESC, order_id) AS n,
  RANK() OVER (PARTITION BY product ORDER BY qty DESC) AS place,
  DENSE_RANK() OVER (PARTITION BY product ORDER BY qty DESC) AS dense
FROM orders WHERE qty IS NOT NULL
