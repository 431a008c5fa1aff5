SELECT name, pay FROM staff WHERE pay > (SELECT AVG(hours) * 40 FROM tasks)
