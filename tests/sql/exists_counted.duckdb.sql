SELECT d.title, SUM(CASE WHEN EXISTS (SELECT 1 FROM staff AS s WHERE s.dept = d.dept) THEN 1 ELSE
  0 END) AS n FROM depts AS d GROUP BY d.title
