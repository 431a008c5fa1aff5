SELECT COUNT(*) AS n, MAX(dept) AS most FROM (SELECT dept FROM staff EXCEPT ALL SELECT dept FROM
  depts)
