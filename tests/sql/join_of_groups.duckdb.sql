SELECT a.dept, a.n, b.most FROM (SELECT dept, COUNT(*) AS n FROM staff GROUP BY dept) AS a JOIN
  (SELECT dept, MAX(pay) AS most FROM staff GROUP BY dept) AS b ON a.dept = b.dept
