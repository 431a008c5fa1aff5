SELECT s.name, CASE WHEN EXISTS (SELECT 1 FROM staff AS o WHERE o.pay > s.pay) THEN 'less' ELSE
  'most' END AS paid FROM staff AS s
