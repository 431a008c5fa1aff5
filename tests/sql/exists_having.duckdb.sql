SELECT s.dept, COUNT(*) AS n FROM staff AS s GROUP BY s.dept HAVING EXISTS (SELECT 1 FROM depts
  AS d WHERE d.dept = s.dept)
