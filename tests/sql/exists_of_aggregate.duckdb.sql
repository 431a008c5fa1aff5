SELECT d.title FROM depts AS d WHERE EXISTS (SELECT MAX(pay) FROM staff AS s WHERE s.dept =
  d.dept)
