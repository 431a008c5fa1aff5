WITH marked AS (
  SELECT *, CASE WHEN epoch_ms(ts) - lag(epoch_ms(ts)) OVER w <= 1800000 THEN 0 ELSE 1 END AS opens
  FROM old_events WINDOW w AS (PARTITION BY 1 ORDER BY ts)
), numbered AS (
  SELECT *, sum(opens) OVER (PARTITION BY 1 ORDER BY ts) AS session FROM marked
)
SELECT min(ts) AS window_start, plus_ms(max(ts), 1800000) AS window_end, COUNT(*) AS n
FROM numbered GROUP BY session
