SELECT customer, order_id, rn, bound FROM (
  SELECT customer, order_id, row_number() OVER (PARTITION BY customer ORDER BY price DESC, order_id) AS rn FROM orders),
  (VALUES ('fraction'), ('text')) AS b(bound)
WHERE CASE bound WHEN 'fraction' THEN rn >= 1.5 AND rn < 3.5 ELSE CAST(rn AS VARCHAR) < '11' END
