-- By hand: ERROR ON ERROR makes the row a dead letter.

CREATE TABLE documents (id BIGINT, doc STRING)
WITH ('connector' = 'filesystem', 'path' = 'data/documents.jsonl', 'format' = 'json');

CREATE VIEW numbers AS SELECT id, JSON_VALUE(doc, '$.n' RETURNING INT ERROR ON EMPTY ERROR ON ERROR) AS n FROM documents;
SELECT id, n FROM numbers WHERE n > 0;
