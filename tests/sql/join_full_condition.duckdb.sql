SELECT s.name, d.title
FROM staff AS s
FULL JOIN depts AS d ON s.dept = d.dept AND s.id > d.cap
