SELECT DISTINCT d.title FROM staff AS s JOIN depts AS d ON s.dept = d.dept
