SELECT o.order_id, o.qty, s.carrier, o.window_start
FROM (SELECT *, wstart(ts, 1200000, 0) AS window_start FROM orders) AS o LEFT JOIN (SELECT *, wstart(ts, 1200000, 0) AS window_start FROM shipments) AS s ON o.order_id = s.order_id AND o.window_start = s.window_start
     AND o.qty > 3 AND s.carrier <> 'sea'
