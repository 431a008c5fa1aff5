SELECT '+I' AS op, ts AS time, order_id, ts FROM orders
UNION ALL
SELECT '-D', ts + INTERVAL 15 MINUTE, order_id, ts FROM orders WHERE ts + INTERVAL 15 MINUTE <= (SELECT max(ts) FROM orders)
