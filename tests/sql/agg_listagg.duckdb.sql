SELECT wstart(ts, 1800000, 0) AS window_start, product, string_agg(customer, ',' ORDER BY ts, customer) AS customers, string_agg(CAST(qty AS VARCHAR), '|' ORDER BY ts, qty) AS qtys
FROM orders GROUP BY ALL
