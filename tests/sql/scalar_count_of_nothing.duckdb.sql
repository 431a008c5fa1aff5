SELECT title, (SELECT COUNT(*) FROM tasks WHERE staff = 77) AS n FROM depts
