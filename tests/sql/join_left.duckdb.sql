SELECT s.name, s.dept, d.title FROM staff AS s LEFT JOIN depts AS d ON s.dept = d.dept
