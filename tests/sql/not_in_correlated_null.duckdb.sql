SELECT s.id, s.dept FROM staff AS s WHERE s.dept NOT IN (SELECT b.dept FROM staff AS b WHERE
  b.boss = s.boss AND b.id <> s.id)
