SELECT name, dept FROM staff WHERE dept NOT IN (SELECT dept FROM depts WHERE cap > 100)
