SELECT '+I' AS op, plus_ms(wstart(ts, 600000, 0), 600000 - 1) AS time,
       wstart(ts, 600000, 0) AS window_start,
       plus_ms(wstart(ts, 600000, 0), 600000) AS window_end, COUNT(*) AS n, SUM(qty) AS qty
FROM orders GROUP BY ALL
