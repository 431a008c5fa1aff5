-- A quoted CSV field may hold line breaks, also where the file is cut into chunks.

CREATE TABLE notes (id INT, note STRING, tag STRING)
WITH ('connector' = 'filesystem', 'path' = 'data/lines.csv', 'format' = 'csv');

SELECT id, note, CHAR_LENGTH(note) AS len, tag FROM notes;
