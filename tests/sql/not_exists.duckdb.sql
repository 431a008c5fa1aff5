SELECT s.name FROM staff AS s WHERE NOT EXISTS (SELECT 1 FROM tasks AS t WHERE t.staff = s.id AND
  t.hours > 2)
