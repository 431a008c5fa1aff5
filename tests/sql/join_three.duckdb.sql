SELECT s.name, d.title, t.task, t.hours
FROM staff AS s, depts AS d, tasks AS t
WHERE s.dept = d.dept AND t.staff = s.id AND t.hours > 2
