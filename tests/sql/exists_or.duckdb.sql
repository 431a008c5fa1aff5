SELECT s.name FROM staff AS s WHERE s.boss IS NULL OR EXISTS (SELECT 1 FROM tasks AS t WHERE
  t.staff = s.id AND t.hours = 8)
