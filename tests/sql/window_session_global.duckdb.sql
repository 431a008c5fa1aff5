WITH marked AS (
  SELECT *, CASE WHEN epoch_ms(ts) - lag(epoch_ms(ts)) OVER w <= 12000 THEN 0 ELSE 1 END AS opens
  FROM clicks WINDOW w AS (PARTITION BY 1 ORDER BY ts)
), numbered AS (
  SELECT *, sum(opens) OVER (PARTITION BY 1 ORDER BY ts) AS session FROM marked
)
SELECT min(ts) AS window_start, plus_ms(max(ts), 12000) AS window_end, COUNT(*) AS clicks
FROM numbered GROUP BY session
