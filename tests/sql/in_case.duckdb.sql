SELECT name FROM staff WHERE CASE WHEN dept IN (SELECT dept FROM depts WHERE cap > 2) THEN 'in'
  WHEN NOT (dept IN (SELECT dept FROM depts WHERE cap > 2)) THEN 'out' ELSE 'unknown' END =
  'unknown'
