SELECT title, (SELECT MAX(pay) FROM staff WHERE pay > 1000) AS most FROM depts
