WITH all_clicks AS (
  SELECT *, epoch_ms(CAST(epoch_ms(ts) // 100 * 100 AS BIGINT)) AS tick FROM clicks
), states AS (
  SELECT t.tick AS time, c.user_id, c.page, c.ts,
         ROW_NUMBER() OVER (PARTITION BY t.tick, c.user_id ORDER BY c.ts DESC, c.page DESC) AS rn
  FROM (SELECT DISTINCT tick FROM all_clicks) AS t JOIN all_clicks AS c ON c.tick <= t.tick
), pairs AS (
  SELECT *, lag(page) OVER w AS page0
  FROM states WHERE rn <= 2 WINDOW w AS (PARTITION BY user_id, rn ORDER BY time)
), changes AS (
  SELECT * FROM pairs WHERE page IS DISTINCT FROM page0
)
SELECT CASE WHEN page0 IS NULL THEN '+I' ELSE '+U' END AS op, time, user_id, page, rn FROM changes
UNION ALL
SELECT '-U', time, user_id, page0, rn FROM changes WHERE page0 IS NOT NULL
