SELECT name, pay FROM staff WHERE pay = (SELECT MAX(pay) FROM staff)
