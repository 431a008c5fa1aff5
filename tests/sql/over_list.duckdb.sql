SELECT order_id, STRING_AGG(product, '+') OVER (PARTITION BY customer ORDER BY ts, order_id ROWS 2 PRECEDING) AS last_three,
  STRING_AGG(product, ',') OVER (PARTITION BY customer ORDER BY price DESC NULLS LAST, order_id) AS by_price
FROM orders
