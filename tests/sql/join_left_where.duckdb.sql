SELECT s.name, d.title
FROM staff AS s
LEFT JOIN depts AS d ON s.dept = d.dept
WHERE d.cap > 2 OR s.pay IS NULL
