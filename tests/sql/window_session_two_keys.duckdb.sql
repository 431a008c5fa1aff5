WITH marked AS (
  SELECT *, CASE WHEN epoch_ms(ts) - lag(epoch_ms(ts)) OVER w <= 900000 THEN 0 ELSE 1 END AS opens
  FROM orders WINDOW w AS (PARTITION BY customer, product ORDER BY ts)
), numbered AS (
  SELECT *, sum(opens) OVER (PARTITION BY customer, product ORDER BY ts) AS session FROM marked
)
SELECT customer, product, min(ts) AS window_start, plus_ms(max(ts), 900000) AS window_end,
       SUM(price) AS total
FROM numbered GROUP BY customer, product, session
