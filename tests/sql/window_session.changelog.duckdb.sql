WITH marked AS (
  SELECT *, CASE WHEN epoch_ms(ts) - lag(epoch_ms(ts)) OVER w <= 10000 THEN 0 ELSE 1 END AS opens
  FROM clicks WINDOW w AS (PARTITION BY user_id ORDER BY ts)
), numbered AS (
  SELECT *, sum(opens) OVER (PARTITION BY user_id ORDER BY ts) AS session FROM marked
)
-- A row at the very end still belongs to the session, so the result has that time.
SELECT '+I' AS op, plus_ms(max(ts), 10000) AS time,
       user_id, min(ts) AS window_start, plus_ms(max(ts), 10000) AS window_end,
       COUNT(*) AS clicks, COUNT(DISTINCT page) AS pages
FROM numbered GROUP BY user_id, session
