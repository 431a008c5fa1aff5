SELECT bin
        FROM read_json('data/types.jsonl', format = 'newline_delimited', columns = {
          b: 'BOOLEAN', t: 'TINYINT', s: 'SMALLINT', i: 'INTEGER', l: 'BIGINT', f: 'FLOAT', d: 'DOUBLE',
          c: 'DECIMAL(10,3)', big: 'VARCHAR', "day": 'DATE', tod: 'TIME',
          t0: 'VARCHAR', t3: 'TIMESTAMP_MS', t6: 'VARCHAR', tz: 'VARCHAR', vc: 'VARCHAR', bin: 'VARCHAR'}) WHERE t IS NULL OR t <> 0
