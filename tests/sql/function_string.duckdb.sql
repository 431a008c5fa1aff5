SELECT id, upper(s) AS up, lower(s) AS low, trim(s) AS trimmed, length(s) AS len, reverse(s) AS rev,
       replace(s, 'l', 'L') AS rep, substring(s, 2, 3) AS sub, substring(s, 3) AS tail,
       lpad(s, 3, '*') AS lp, rpad(s, 7, '*') AS rp, s || '!' AS excl, position('l' IN s) AS pos,
       left(s, 2) AS l2, right(s, 2) AS r2, repeat(s, 2) AS twice, s LIKE '%l_o%' AS lk
 FROM read_json('data/words.jsonl', format = 'newline_delimited', columns = {id: 'INTEGER', s: 'VARCHAR', url: 'VARCHAR'})
