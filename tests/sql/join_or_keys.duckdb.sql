SELECT s.name, d.title FROM staff AS s, depts AS d WHERE (s.dept = d.dept AND s.pay > 150) OR
  (s.dept = d.dept AND d.cap < 3)
