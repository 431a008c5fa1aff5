SELECT name FROM staff WHERE pay = 100 OR dept NOT IN (SELECT dept FROM depts WHERE cap > 2)
