SELECT window_start, id, v
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start ORDER BY v DESC) AS rn
  FROM (SELECT *, wstart(ts, 10000, 0) AS window_start FROM late_events)
  WHERE time < plus_ms(window_start, 10000)
) WHERE rn <= 2
