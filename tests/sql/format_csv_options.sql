-- By hand: CSV with another delimiter, quotes within quotes, a literal for NULL and text beyond ASCII.

CREATE TABLE notes (id INT, name STRING, note STRING) WITH (
  'connector' = 'filesystem', 'path' = 'data/quoted.csv', 'format' = 'csv',
  'csv.field-delimiter' = ';', 'csv.null-literal' = 'NIL'
);

SELECT id, name, CHAR_LENGTH(name) AS len, note IS NULL AS missing, CHAR_LENGTH(note) AS note_len FROM notes;
