SELECT name FROM staff WHERE dept NOT IN (SELECT dept FROM depts)
