-- By hand: JSON_QUERY with wrappers, ON EMPTY and ON ERROR.

CREATE TABLE documents (id BIGINT, doc STRING)
WITH ('connector' = 'filesystem', 'path' = 'data/documents.jsonl', 'format' = 'json');

SELECT id, JSON_QUERY(doc, '$.a') AS a,
  JSON_QUERY(doc, '$.a' WITH CONDITIONAL WRAPPER) AS c,
  JSON_QUERY(doc, '$.a' WITH UNCONDITIONAL ARRAY WRAPPER) AS u,
  JSON_QUERY(doc, '$.a.b[*]' EMPTY ARRAY ON EMPTY EMPTY OBJECT ON ERROR) AS b
FROM documents;
