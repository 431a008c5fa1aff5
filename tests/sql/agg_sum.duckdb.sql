SELECT wstart(ts, 1800000, 0) AS window_start, product, SUM(qty) AS qty, SUM(price) AS price, SUM(order_id) AS ids
FROM orders GROUP BY ALL
