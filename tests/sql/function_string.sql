-- String functions, over text beyond ASCII, the empty string and NULL.

CREATE TABLE words (id INT, s STRING, url STRING)
WITH ('connector' = 'filesystem', 'path' = 'data/words.jsonl', 'format' = 'json');

SELECT id, UPPER(s) AS up, LOWER(s) AS low, TRIM(s) AS trimmed, CHAR_LENGTH(s) AS len, REVERSE(s) AS rev,
       REPLACE(s, 'l', 'L') AS rep, SUBSTRING(s FROM 2 FOR 3) AS sub, SUBSTRING(s, 3) AS tail,
       LPAD(s, 3, '*') AS lp, RPAD(s, 7, '*') AS rp, s || '!' AS excl, POSITION('l' IN s) AS pos,
       LEFT(s, 2) AS l2, RIGHT(s, 2) AS r2, REPEAT(s, 2) AS twice, s LIKE '%l_o%' AS lk
FROM words;
