SELECT id, CASE WHEN regexp_matches(url, '(&|^)channel_id=([^&]*)') THEN regexp_extract(url, '(&|^)channel_id=([^&]*)', 2) END AS channel,
       CASE WHEN regexp_matches(url, '^[a-z]+') THEN regexp_extract(url, '^[a-z]+') END AS scheme,
       regexp_replace(s, '[lX]', '_', 'g') AS r
 FROM read_json('data/words.jsonl', format = 'newline_delimited', columns = {id: 'INTEGER', s: 'VARCHAR', url: 'VARCHAR'})
