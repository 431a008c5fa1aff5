SELECT s.name, s.pay FROM staff AS s WHERE s.pay IN (SELECT MAX(o.pay) FROM staff AS o WHERE
  o.dept = s.dept)
