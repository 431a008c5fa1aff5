SELECT s.name, d.title
FROM staff AS s
JOIN depts AS d ON s.dept IS NOT DISTINCT
FROM d.dept
