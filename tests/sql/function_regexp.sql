-- REGEXP_EXTRACT by group (NULL without a match), REGEXP_REPLACE of every match.

CREATE TABLE words (id INT, s STRING, url STRING)
WITH ('connector' = 'filesystem', 'path' = 'data/words.jsonl', 'format' = 'json');

SELECT id, REGEXP_EXTRACT(url, '(&|^)channel_id=([^&]*)', 2) AS channel, REGEXP_EXTRACT(url, '^[a-z]+') AS scheme,
       REGEXP_REPLACE(s, '[lX]', '_') AS r
FROM words;
