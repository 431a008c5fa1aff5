SELECT s.name, s.dept, d.dept AS other, d.title
FROM staff AS s
FULL JOIN depts AS d ON s.dept = d.dept
