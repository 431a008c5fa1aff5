-- By hand: JSON_EXISTS with ON ERROR.

CREATE TABLE documents (id BIGINT, doc STRING)
WITH ('connector' = 'filesystem', 'path' = 'data/documents.jsonl', 'format' = 'json');

SELECT id, JSON_EXISTS(doc, '$.a.b') AS b, JSON_EXISTS(doc, 'strict $.a.b' TRUE ON ERROR) AS t,
  JSON_EXISTS(doc, 'strict $.a.b' UNKNOWN ON ERROR) AS u
FROM documents;
