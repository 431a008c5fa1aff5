SELECT * FROM (
  SELECT o.order_id, o.product, p.price
  FROM (FROM orders WHERE qty > 1) AS o
  ASOF JOIN prices AS p ON o.product = p.product AND o.ts >= p.since
) WHERE price < 1.25
