SELECT name FROM staff WHERE id IN (SELECT staff FROM tasks WHERE hours > 3)
