SELECT name FROM staff WHERE (dept, pay) IN (SELECT dept, MAX(pay) FROM staff GROUP BY dept)
