SELECT split_part(filename, '/', -1) AS origin, COUNT(*) AS n, MIN(id) AS first_id
FROM read_json('data/parts/*.jsonl', columns = {id: 'BIGINT', ts: 'TIMESTAMP_MS'}, filename = true) GROUP BY ALL
