SELECT s.name, d.title FROM staff AS s FULL JOIN depts AS d ON s.pay < d.cap * 30
