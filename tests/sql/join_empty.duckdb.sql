SELECT s.name, d.title FROM staff AS s LEFT JOIN (SELECT * FROM depts WHERE cap > 1000) AS d ON
  s.dept = d.dept
