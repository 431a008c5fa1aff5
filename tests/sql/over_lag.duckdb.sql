SELECT order_id, product, LAG(price) OVER w AS last_price, LAG(price, 2, 0.5::DECIMAL(10,2)) OVER w AS second_last,
  qty - LAG(qty, 1, qty) OVER w AS change
FROM orders WINDOW w AS (PARTITION BY product ORDER BY ts, order_id)
