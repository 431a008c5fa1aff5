SELECT order_id, product,
  CASE WHEN found < 1.25 AND price > found * 20 THEN found END AS price
FROM (
  SELECT o.order_id, o.product, o.price, p.price AS found
  FROM orders AS o ASOF LEFT JOIN prices AS p ON o.product = p.product AND o.ts >= p.since
)
