SELECT d.title, COUNT(*) AS n, SUM(s.pay) AS pay, MIN(s.name) AS first FROM depts AS d JOIN staff
  AS s ON d.dept = s.dept GROUP BY d.title
