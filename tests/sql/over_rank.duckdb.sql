SELECT order_id, customer, ROW_NUMBER() OVER (PARTITION BY customer ORDER BY ts, order_id) AS n,
  RANK() OVER (PARTITION BY customer ORDER BY ts) AS place, DENSE_RANK() OVER (PARTITION BY customer ORDER BY ts) AS dense
FROM orders
