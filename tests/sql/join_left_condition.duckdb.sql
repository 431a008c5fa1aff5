SELECT s.name, d.title
FROM staff AS s
LEFT JOIN depts AS d ON s.dept = d.dept AND d.cap > 2 AND s.pay >= 150
