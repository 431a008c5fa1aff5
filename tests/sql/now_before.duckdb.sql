SELECT order_id, qty FROM orders WHERE ts + INTERVAL '30' MINUTE <= (SELECT max(ts) FROM orders) AND qty > 1
