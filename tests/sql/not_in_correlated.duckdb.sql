SELECT s.name FROM staff AS s WHERE s.pay NOT IN (SELECT t.hours * 50 FROM tasks AS t WHERE
  t.staff = s.id)
