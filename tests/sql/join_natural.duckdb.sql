SELECT name, title FROM (SELECT name, dept FROM staff) AS s NATURAL JOIN (SELECT dept, title FROM
  depts) AS d
