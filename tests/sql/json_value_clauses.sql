-- By hand: JSON_VALUE with RETURNING, ON EMPTY and ON ERROR.

CREATE TABLE documents (id BIGINT, doc STRING)
WITH ('connector' = 'filesystem', 'path' = 'data/documents.jsonl', 'format' = 'json');

SELECT id, JSON_VALUE(doc, '$.name') AS name,
  JSON_VALUE(doc, '$.n' RETURNING INT) AS n,
  JSON_VALUE(doc, '$.n' RETURNING INT DEFAULT -1 ON EMPTY DEFAULT -2 ON ERROR) AS d,
  JSON_VALUE(doc, 'strict $.z' DEFAULT 'none' ON EMPTY DEFAULT 'wrong' ON ERROR) AS z,
  JSON_VALUE(doc, '$.ok' RETURNING BOOLEAN) AS ok,
  JSON_VALUE(doc, '$.f' RETURNING DOUBLE NULL ON EMPTY) AS f
FROM documents;
