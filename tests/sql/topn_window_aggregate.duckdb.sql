WITH sums AS (
  SELECT window_start, customer, SUM(price) AS total
  FROM (SELECT *, unnest(hop_starts(ts, 1800000, 900000, 0)) AS window_start FROM orders)
  WHERE price IS NOT NULL GROUP BY ALL)
SELECT window_start, plus_ms(window_start, 1800000) AS window_end, customer, total, place
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start ORDER BY total DESC, customer ASC NULLS FIRST) AS place FROM sums)
WHERE place <= 2
