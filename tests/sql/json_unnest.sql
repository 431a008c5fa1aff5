-- By hand: Items of a JSON array as rows.

CREATE TABLE documents (id BIGINT, doc STRING)
WITH ('connector' = 'filesystem', 'path' = 'data/documents.jsonl', 'format' = 'json');

SELECT id, item FROM documents CROSS JOIN UNNEST(JSON_QUERY(doc, '$[*]' RETURNING ARRAY<STRING>)) AS t (item);
