SELECT dept, COUNT(*) AS n FROM staff GROUP BY dept HAVING COUNT(*) >= ALL (SELECT COUNT(*) FROM
  staff GROUP BY dept)
