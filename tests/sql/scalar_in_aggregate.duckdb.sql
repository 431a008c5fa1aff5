SELECT dept, SUM(pay - (SELECT MIN(pay) FROM staff)) AS above FROM staff GROUP BY dept
