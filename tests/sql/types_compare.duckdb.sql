SELECT t < s AS ts_less, i > l AS il_more, f = 1.5 AS f_eq, c > 0 AS c_pos,
       "day" = DATE '2024-02-29' AS leap, t3 > TIMESTAMP '1970-01-01 00:00:00' AS modern,
       t3 BETWEEN TIMESTAMP '1969-01-01' AND TIMESTAMP '1970-01-01' AS old

FROM read_json('data/types.jsonl', format = 'newline_delimited', columns = {
  b: 'BOOLEAN', t: 'TINYINT', s: 'SMALLINT', i: 'INTEGER', l: 'BIGINT', f: 'FLOAT', d: 'DOUBLE',
  c: 'DECIMAL(10,3)', big: 'VARCHAR', "day": 'DATE', tod: 'TIME',
  t0: 'VARCHAR', t3: 'TIMESTAMP_MS', t6: 'VARCHAR', tz: 'VARCHAR', vc: 'VARCHAR', bin: 'VARCHAR'})
