SELECT s.name, d.title FROM staff AS s RIGHT JOIN depts AS d ON s.dept = d.dept
