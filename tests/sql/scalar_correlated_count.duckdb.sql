SELECT d.title, (SELECT COUNT(*) FROM staff AS s WHERE s.dept = d.dept) AS n FROM depts AS d
