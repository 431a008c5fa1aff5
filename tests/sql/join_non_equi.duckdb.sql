SELECT s.name, d.title FROM staff AS s JOIN depts AS d ON s.pay > d.cap * 40
