SELECT a.name, b.name AS other
FROM staff AS a
JOIN staff AS b ON a.dept = b.dept AND a.id < b.id
