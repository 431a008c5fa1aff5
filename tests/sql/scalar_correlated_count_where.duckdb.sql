SELECT s.name FROM staff AS s WHERE (SELECT COUNT(*) FROM tasks AS t WHERE t.staff = s.id) < 2
