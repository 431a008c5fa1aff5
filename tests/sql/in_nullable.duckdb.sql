SELECT name FROM staff WHERE dept IN (SELECT dept FROM depts)
