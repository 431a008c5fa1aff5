SELECT s.name, d.title FROM staff AS s CROSS JOIN depts AS d
