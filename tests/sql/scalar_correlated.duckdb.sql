SELECT d.title, (SELECT MAX(s.pay) FROM staff AS s WHERE s.dept = d.dept) AS most FROM depts AS d
