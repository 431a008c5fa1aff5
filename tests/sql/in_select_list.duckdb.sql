SELECT s.name, s.dept IN (SELECT dept FROM depts) AS known, EXISTS (SELECT 1 FROM tasks AS t
  WHERE t.staff = s.id) AS busy FROM staff AS s
