SELECT name FROM staff WHERE pay > ANY (SELECT hours * 30 FROM tasks WHERE tag = 'a')
