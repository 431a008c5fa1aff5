SELECT s.name, d.title FROM staff AS s LEFT JOIN depts AS d ON s.pay > d.cap * 60
