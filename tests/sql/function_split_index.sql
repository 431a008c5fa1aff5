-- SPLIT_INDEX counts from zero; beyond the end is NULL, between two delimiters is empty.

CREATE TABLE words (id INT, s STRING, url STRING)
WITH ('connector' = 'filesystem', 'path' = 'data/words.jsonl', 'format' = 'json');

SELECT id, SPLIT_INDEX(url, '/', 0) AS p0, SPLIT_INDEX(url, '/', 2) AS p2, SPLIT_INDEX(url, '/', 3) AS p3, SPLIT_INDEX(s, 'X', 1) AS x1
FROM words WHERE url <> '';
