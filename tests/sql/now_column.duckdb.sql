SELECT order_id FROM orders WHERE (SELECT max(ts) FROM orders) < ts + to_minutes(qty * 10)
