SELECT product, order_id, price FROM (
  SELECT *, ROW_NUMBER() OVER (ORDER BY price DESC NULLS LAST, order_id) AS place FROM (
SELECT product, order_id, price
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY product ORDER BY price DESC NULLS LAST, order_id) AS rn FROM orders) AS ranked
WHERE rn = 1
  ) AS first_ones
) AS placed WHERE place <= 3
