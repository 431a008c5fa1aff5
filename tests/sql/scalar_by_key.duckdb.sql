SELECT t.task, (SELECT s.name FROM staff AS s WHERE s.id = t.staff) AS name FROM tasks AS t WHERE
  t.hours > 3
