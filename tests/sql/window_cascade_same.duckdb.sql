WITH c AS (
  SELECT window_start, customer, COUNT(*) AS n
  FROM (SELECT *, unnest(hop_starts(ts, 1200000, 600000, 0)) AS window_start FROM orders)
  GROUP BY ALL)
SELECT window_start, plus_ms(window_start, 1200000) AS window_end,
       MAX(n) AS most, MIN(n) AS least, COUNT(*) AS customers
FROM c GROUP BY ALL
