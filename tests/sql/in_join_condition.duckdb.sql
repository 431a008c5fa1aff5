SELECT s.name, d.title FROM staff AS s JOIN depts AS d ON s.dept = d.dept AND s.id IN (SELECT
  staff FROM tasks)
