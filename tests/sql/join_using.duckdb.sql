SELECT dept, s.name, d.title FROM staff AS s JOIN depts AS d USING (dept)
