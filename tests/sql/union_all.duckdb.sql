SELECT order_id, customer AS who, ts FROM orders WHERE order_id < 8
UNION ALL
SELECT order_id, carrier, ts FROM shipments
UNION ALL
SELECT order_id, carrier, ts FROM shipments WHERE carrier = 'air'
