SELECT customer, count(*) AS windows, max(n) AS most FROM (
  SELECT w, customer, count(*) AS n FROM (
    SELECT customer, wstart(ts, 600000, 0) AS w, row_number() OVER (PARTITION BY wstart(ts, 600000, 0) ORDER BY price DESC, order_id) AS rn FROM orders)
  WHERE rn <= 5 GROUP BY ALL)
GROUP BY ALL
