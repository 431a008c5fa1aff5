SELECT id, md5(s) AS m, sha256(s) AS h FROM read_json('data/words.jsonl', format = 'newline_delimited', columns = {id: 'INTEGER', s: 'VARCHAR', url: 'VARCHAR'})
