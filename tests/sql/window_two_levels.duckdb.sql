WITH ten AS (
  SELECT wstart(ts, 600000, 0) AS ws, product, SUM(qty) AS qty FROM orders GROUP BY ALL)
SELECT wstart(ws, 1800000, 0) AS window_start,
       plus_ms(wstart(ws, 1800000, 0), 1800000) AS window_end,
       MAX(qty) AS best, COUNT(*) AS products
FROM ten GROUP BY ALL
