SELECT s.name, d.title, d.cap FROM staff AS s JOIN depts AS d ON s.dept = d.dept
