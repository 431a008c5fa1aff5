SELECT s.name, d.dept FROM staff AS s JOIN (SELECT dept FROM staff INTERSECT SELECT dept FROM
  depts) AS d ON s.dept = d.dept
