SELECT plus_ms(w.window_start, 1200000) AS window_end, o.order_id, o.price
FROM orders AS o
JOIN (SELECT wstart(ts, 1200000, 0) AS window_start, MAX(price) AS most FROM orders GROUP BY 1) AS w
ON o.price = w.most AND wstart(o.ts, 1200000, 0) = w.window_start
