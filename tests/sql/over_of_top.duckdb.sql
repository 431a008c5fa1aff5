SELECT customer, product, price,
  CAST(round(AVG(price) OVER (PARTITION BY customer ORDER BY ts, order_id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW), 6) AS DECIMAL(38, 6)) AS mean
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY customer, product ORDER BY price DESC, order_id) AS rn
  FROM orders WHERE price IS NOT NULL
) WHERE rn = 1
