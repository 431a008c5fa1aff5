SELECT o.order_id, o.customer, s.order_id AS shipped_id, s.carrier,
       COALESCE(o.window_start, s.window_start) AS window_start,
       plus_ms(COALESCE(o.window_start, s.window_start), 1200000) AS window_end
FROM (SELECT *, wstart(ts, 1200000, 0) AS window_start FROM orders) AS o RIGHT JOIN (SELECT *, wstart(ts, 1200000, 0) AS window_start FROM shipments) AS s ON o.order_id = s.order_id AND o.window_start = s.window_start
