SELECT d.title, x.name FROM depts AS d CROSS JOIN LATERAL (SELECT s.name FROM staff AS s WHERE
  s.dept = d.dept AND s.pay > 100) AS x
