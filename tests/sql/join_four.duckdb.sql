SELECT s.name, b.name AS boss, d.title, t.task
FROM tasks AS t
JOIN staff AS s ON t.staff = s.id
LEFT JOIN staff AS b ON s.boss = b.id
LEFT JOIN depts AS d ON b.dept = d.dept
