-- A query without a table.

SELECT * FROM (VALUES (1, 'one', TRUE), (2, CAST(NULL AS STRING), FALSE)) AS t (id, name, flag);
