SELECT name FROM staff WHERE (dept IN (SELECT dept FROM depts WHERE cap > 2)) IS NULL
