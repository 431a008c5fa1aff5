-- MD5 and SHA256 are lower-case hexadecimal text, as in Flink.

CREATE TABLE words (id INT, s STRING, url STRING)
WITH ('connector' = 'filesystem', 'path' = 'data/words.jsonl', 'format' = 'json');

SELECT id, MD5(s) AS m, SHA256(s) AS h FROM words;
