SELECT id, s || '-' || url AS c, concat_ws('-', s, url, 'z') AS ws FROM read_json('data/words.jsonl', format = 'newline_delimited', columns = {id: 'INTEGER', s: 'VARCHAR', url: 'VARCHAR'})
