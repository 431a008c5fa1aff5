SELECT d.title, (SELECT COALESCE(SUM(s.pay), 0) + COUNT(*) FROM staff AS s WHERE s.dept = d.dept)
  AS total FROM depts AS d
