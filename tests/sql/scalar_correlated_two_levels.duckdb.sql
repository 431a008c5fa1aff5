SELECT d.title, (SELECT MAX(s.pay) FROM staff AS s WHERE s.dept = d.dept AND s.id NOT IN (SELECT
  t.staff FROM tasks AS t WHERE t.hours = 8 AND t.staff IS NOT NULL)) AS most FROM depts AS d
