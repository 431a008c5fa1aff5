SELECT o.order_id, o.customer, o.window_start, plus_ms(o.window_start, 1200000) AS window_end
FROM (SELECT *, wstart(ts, 1200000, 0) AS window_start FROM orders) AS o WHERE NOT EXISTS (SELECT * FROM (SELECT *, wstart(ts, 1200000, 0) AS window_start FROM shipments) AS s WHERE o.order_id = s.order_id AND o.window_start = s.window_start)
