-- By hand: JSON_OBJECT, JSON_ARRAY and JSON_STRING.

CREATE TABLE documents (id BIGINT, doc STRING)
WITH ('connector' = 'filesystem', 'path' = 'data/documents.jsonl', 'format' = 'json');

SELECT id, JSON_OBJECT(KEY 'id' VALUE id, 'name' VALUE JSON_VALUE(doc, '$.name')) AS o,
  JSON_OBJECT('n' : JSON_VALUE(doc, '$.name') ABSENT ON NULL) AS x,
  JSON_ARRAY(id, JSON_VALUE(doc, '$.name'), TRUE, 1.50, JSON_OBJECT(KEY 'in' VALUE id)) AS a,
  JSON_ARRAY(JSON_VALUE(doc, '$.name') NULL ON NULL) AS n,
  JSON_STRING(JSON_VALUE(doc, '$.name')) AS s, JSON_OBJECT() AS e
FROM documents;
