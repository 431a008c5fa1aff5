SELECT order_id, product, LEAD(price) OVER w AS next_price, LEAD(order_id, 2, -1) OVER w AS second_next,
  LAG(order_id) OVER w AS last
FROM orders WINDOW w AS (PARTITION BY product ORDER BY ts, order_id)
