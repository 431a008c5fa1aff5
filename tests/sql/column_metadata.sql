-- A metadata column: the name of the file that a row came from.

CREATE TABLE events (id BIGINT, ts TIMESTAMP(3), origin STRING METADATA FROM 'file.name' VIRTUAL)
WITH ('connector' = 'filesystem', 'path' = 'data/parts', 'format' = 'json');

SELECT origin, COUNT(*) AS n, MIN(id) AS first_id FROM events GROUP BY origin;
