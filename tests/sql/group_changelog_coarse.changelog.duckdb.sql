WITH per_tick AS (
  SELECT user_id, epoch_ms(CAST(epoch_ms(ts) // 60000 * 60000 AS BIGINT)) AS time, COUNT(*) AS c, SUM(second(ts)) AS s
  FROM clicks GROUP BY ALL
), running AS (
  SELECT user_id, time, sum(c) OVER w AS n, sum(s) OVER w AS total
  FROM per_tick WINDOW w AS (PARTITION BY user_id ORDER BY time)
), pairs AS (
  SELECT *, lag(n) OVER w AS n0, lag(total) OVER w AS total0
  FROM running WINDOW w AS (PARTITION BY user_id ORDER BY time)
)
SELECT CASE WHEN n0 IS NULL THEN '+I' ELSE '+U' END AS op, time, user_id, n, total FROM pairs
UNION ALL
SELECT '-U', time, user_id, n0, total0 FROM pairs WHERE n0 IS NOT NULL
