SELECT order_id, ts, wstart(ts, 3600000, 0) AS window_start,
       plus_ms(wstart(ts, 3600000, 0), 3600000) AS window_end,
       plus_ms(wstart(ts, 3600000, 0), 3599999) AS window_time
FROM orders
