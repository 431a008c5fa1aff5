SELECT d.title, x.n FROM depts AS d, LATERAL (SELECT COUNT(*) AS n FROM staff AS s WHERE s.dept =
  d.dept) AS x
