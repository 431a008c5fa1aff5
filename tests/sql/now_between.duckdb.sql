SELECT order_id, ts FROM orders
WHERE (SELECT max(ts) FROM orders) BETWEEN ts + INTERVAL '5' MINUTE AND ts + INTERVAL '25' MINUTE AND (SELECT max(ts) FROM orders) - ts < INTERVAL '20' MINUTE
