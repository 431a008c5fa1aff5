SELECT name FROM staff WHERE dept IN (SELECT dept FROM staff GROUP BY dept HAVING COUNT(*) > 1)
