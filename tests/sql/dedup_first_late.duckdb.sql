WITH ticked AS (
  SELECT *, epoch_ms(time) // 100 AS tick FROM late_events
), ranked AS (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY tick, ts, id, v) AS rn FROM ticked
), firsts AS (SELECT * FROM ranked WHERE rn = 1)
SELECT 'first' AS kind, k, id FROM firsts
UNION ALL
SELECT 'late', 'rows', COUNT(*) FROM ticked AS t JOIN firsts AS f
ON t.k IS NOT DISTINCT FROM f.k AND t.tick > f.tick AND t.ts < f.ts
