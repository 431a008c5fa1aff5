SELECT title FROM depts WHERE dept IN (SELECT dept FROM staff WHERE id IN (SELECT staff FROM
  tasks WHERE hours > 2))
