SELECT dept, pay FROM staff INTERSECT ALL SELECT dept, pay FROM staff WHERE id <> 3
