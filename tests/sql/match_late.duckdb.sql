WITH pairs AS (
  SELECT k, id AS a, v, lead(id) OVER w AS b, lead(v) OVER w AS v2
  FROM late_events WHERE time = ts WINDOW w AS (PARTITION BY k ORDER BY ts)
)
SELECT 'match' AS what, k, a, b, CAST(NULL AS BIGINT) AS late_by FROM pairs WHERE v2 > v
UNION ALL
SELECT 'late', NULL, NULL, NULL, epoch_ms(time) - epoch_ms(ts) FROM late_events WHERE time > ts
