WITH marked AS (
  SELECT *, CASE WHEN epoch_ms(ts) - lag(epoch_ms(ts)) OVER w <= 10000 THEN 0 ELSE 1 END AS opens
  FROM clicks WINDOW w AS (PARTITION BY user_id ORDER BY ts)
), numbered AS (
  SELECT *, sum(opens) OVER (PARTITION BY user_id ORDER BY ts) AS session FROM marked
), sessions AS (
  SELECT user_id, page, ts, min(ts) OVER s AS window_start,
         plus_ms(max(ts) OVER s, 10000) AS window_end
  FROM numbered WINDOW s AS (PARTITION BY user_id, session)
)
SELECT user_id, page, ts, window_start, window_end, plus_ms(window_end, -1) AS window_time
FROM sessions
