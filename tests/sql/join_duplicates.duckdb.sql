SELECT t.tag, u.tag AS other
FROM tasks AS t
JOIN tasks AS u ON t.hours = u.hours
WHERE t.staff = 1 AND u.staff = 2
