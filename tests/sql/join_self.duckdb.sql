SELECT s.name, b.name AS boss FROM staff AS s JOIN staff AS b ON s.boss = b.id
