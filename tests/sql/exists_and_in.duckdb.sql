SELECT s.name FROM staff AS s WHERE s.id IN (SELECT staff FROM tasks) AND NOT EXISTS (SELECT 1
  FROM tasks AS t WHERE t.staff = s.id AND t.tag IS NULL) AND (s.dept IN (SELECT dept FROM depts
  WHERE cap < 5) OR s.pay > 200)
