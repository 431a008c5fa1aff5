SELECT s.id, COUNT(t.task) AS n FROM staff AS s LEFT JOIN tasks AS t ON t.staff = s.id GROUP BY
  s.id
