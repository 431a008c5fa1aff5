WITH taken AS (
  SELECT wstart(ts, 10000, 0) AS window_start, v,
         greatest(time, plus_ms(wstart(ts, 10000, 0), 9999)) AS time
  FROM late_events WHERE time < plus_ms(wstart(ts, 10000, 0), 14000)
), per_time AS (
  SELECT window_start, time, sum(v) AS v FROM taken GROUP BY ALL
), running AS (
  SELECT window_start, time, sum(v) OVER (PARTITION BY window_start ORDER BY time) AS v FROM per_time
), pairs AS (
  SELECT *, lag(v) OVER (PARTITION BY window_start ORDER BY time) AS v0 FROM running
)
SELECT CASE WHEN v0 IS NULL THEN '+I' ELSE '+U' END AS op, time, window_start, plus_ms(window_start, 10000) AS window_end, v FROM pairs
UNION ALL
SELECT '-U', time, window_start, plus_ms(window_start, 10000), v0 FROM pairs WHERE v0 IS NOT NULL
