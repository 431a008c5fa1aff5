SELECT s.name, d.title, t.task
FROM staff AS s
LEFT JOIN depts AS d ON s.dept = d.dept
LEFT JOIN tasks AS t ON t.staff = s.id AND t.hours = d.cap
