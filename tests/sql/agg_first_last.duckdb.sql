SELECT wstart(ts, 1800000, 0) AS window_start, product, arg_min(order_id, ts) AS first_id, arg_max(order_id, ts) AS last_id, arg_min(qty, ts) FILTER (qty IS NOT NULL) AS first_qty, arg_max(customer, ts) FILTER (customer IS NOT NULL) AS last_customer
FROM orders GROUP BY ALL
