SELECT s.name FROM staff AS s WHERE EXISTS (SELECT 1 FROM staff AS o WHERE o.dept = s.dept AND
  o.pay > s.pay)
