SELECT name FROM staff WHERE pay = 100 OR id IN (SELECT staff FROM tasks WHERE tag = 'b')
