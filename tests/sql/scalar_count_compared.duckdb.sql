SELECT title FROM depts WHERE (SELECT COUNT(*) FROM tasks WHERE staff = 78) = 0
