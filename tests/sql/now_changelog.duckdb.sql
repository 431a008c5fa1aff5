SELECT order_id, ts FROM orders WHERE ts > (SELECT max(ts) FROM orders) - INTERVAL '15' MINUTE
