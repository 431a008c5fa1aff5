WITH marked AS (
  SELECT *, CASE WHEN epoch_ms(ts) - lag(epoch_ms(ts)) OVER w <= 10000 THEN 0 ELSE 1 END AS opens
  FROM clicks WINDOW w AS (PARTITION BY user_id ORDER BY ts)
), numbered AS (
  SELECT *, sum(opens) OVER (PARTITION BY user_id ORDER BY ts) AS session FROM marked
)
SELECT user_id, min(ts) AS first_ts, max(ts) AS last_ts, COUNT(*) AS n
FROM numbered GROUP BY user_id, session
