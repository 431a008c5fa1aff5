SELECT name, dept, boss FROM staff WHERE (dept, boss) NOT IN (SELECT dept, cap FROM depts)
