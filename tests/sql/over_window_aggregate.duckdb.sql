SELECT product, window_time, total,
  SUM(total) OVER (PARTITION BY product ORDER BY window_time) AS so_far,
  total - LAG(total, 1, 0) OVER (PARTITION BY product ORDER BY window_time) AS more
FROM (SELECT product, plus_ms(wstart(ts, 600000, 0), 599999) AS window_time, CAST(SUM(qty) AS BIGINT) AS total FROM orders GROUP BY ALL) AS sums
