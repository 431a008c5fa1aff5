-- By hand: JSON_OBJECTAGG and JSON_ARRAYAGG, also over a retracting input.

CREATE TABLE documents (id BIGINT, doc STRING)
WITH ('connector' = 'filesystem', 'path' = 'data/documents.jsonl', 'format' = 'json');

SELECT kind, JSON_ARRAYAGG(c) AS counts, JSON_OBJECTAGG(KEY name VALUE c) AS by_name,
  JSON_ARRAYAGG(name NULL ON NULL) FILTER (WHERE c > 0) AS names
FROM (SELECT doc IS JSON OBJECT AS kind, JSON_VALUE(doc, '$.name' DEFAULT 'none' ON EMPTY DEFAULT 'none' ON ERROR) AS name, COUNT(*) AS c
      FROM documents GROUP BY doc IS JSON OBJECT, JSON_VALUE(doc, '$.name' DEFAULT 'none' ON EMPTY DEFAULT 'none' ON ERROR)) AS counted
WHERE name IS NOT NULL GROUP BY kind;
