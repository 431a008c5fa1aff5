SELECT s.name, d.title FROM staff AS s JOIN depts AS d ON s.dept + 10 = d.dept - 10
