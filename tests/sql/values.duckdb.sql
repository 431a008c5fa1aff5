SELECT * FROM (VALUES (1, 'one', TRUE), (2, NULL, FALSE)) AS t (id, name, flag)
