-- By hand: Members and items by -> and ->>.

CREATE TABLE documents (id BIGINT, doc STRING)
WITH ('connector' = 'filesystem', 'path' = 'data/documents.jsonl', 'format' = 'json');

SELECT id, doc -> 'a' AS a, doc -> 'a' -> 'b' ->> 0 AS b0, doc ->> 'name' AS name, doc ->> 1 AS item,
  JSON_LENGTH(doc) AS l, CARDINALITY(JSON_KEYS(doc)) AS k FROM documents;
