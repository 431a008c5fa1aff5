SELECT s.name, s.pay FROM staff AS s WHERE NOT EXISTS (SELECT 1 FROM staff AS o WHERE o.pay >
  s.pay)
