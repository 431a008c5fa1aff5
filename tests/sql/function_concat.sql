-- CONCAT is NULL if any argument is, CONCAT_WS leaves NULLs out, as in Flink.

CREATE TABLE words (id INT, s STRING, url STRING)
WITH ('connector' = 'filesystem', 'path' = 'data/words.jsonl', 'format' = 'json');

SELECT id, CONCAT(s, '-', url) AS c, CONCAT_WS('-', s, url, 'z') AS ws FROM words;
