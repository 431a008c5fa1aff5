-- By hand: IS JSON and IS NOT JSON.

CREATE TABLE documents (id BIGINT, doc STRING)
WITH ('connector' = 'filesystem', 'path' = 'data/documents.jsonl', 'format' = 'json');

SELECT id, doc IS JSON AS j, doc IS JSON OBJECT AS o, doc IS JSON ARRAY AS a,
  doc IS JSON SCALAR AS s, doc IS NOT JSON VALUE AS n FROM documents;
