SELECT s.name, d.title
FROM staff AS s
LEFT JOIN depts AS d ON s.dept = d.dept AND d.dept = 10
