SELECT title, (SELECT COUNT(*) FROM staff) AS everyone FROM depts
