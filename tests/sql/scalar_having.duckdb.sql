SELECT dept, SUM(pay) AS total FROM staff GROUP BY dept HAVING SUM(pay) > (SELECT SUM(pay) * 0.2
  FROM staff)
