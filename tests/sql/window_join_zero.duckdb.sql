WITH w AS (SELECT CAST(order_id - order_id AS DOUBLE) AS z, wstart(ts, 600000, 0) AS w FROM orders)
SELECT count(*) AS n FROM w AS a JOIN w AS b ON -a.z = b.z AND a.w = b.w
