SELECT title, dept FROM depts WHERE dept NOT IN (SELECT dept FROM staff WHERE pay >= 200)
