SELECT wstart(ts, 1800000, 0) AS window_start, kind, COUNT(*) AS n
FROM (SELECT 'order' AS kind, ts FROM orders UNION ALL SELECT 'shipment', ts FROM shipments)
GROUP BY ALL
