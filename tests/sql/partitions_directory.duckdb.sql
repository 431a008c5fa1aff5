SELECT wstart(CAST(ts AS TIMESTAMP), 600000, 0) AS window_start, COUNT(*) AS n
FROM read_json('data/parts/*.jsonl', columns = {id: 'BIGINT', ts: 'TIMESTAMP_MS'}) GROUP BY ALL
