SELECT id, m['k'] AS k, m['l'] AS l, m['zz'] AS zz, cardinality(m) AS n
        FROM read_json('data/nested.jsonl', format = 'newline_delimited', columns = {
          id: 'INTEGER', r: 'STRUCT(a INTEGER, b STRUCT(c VARCHAR, d DOUBLE[]))', tags: 'VARCHAR[]',
          m: 'MAP(VARCHAR, INTEGER)', items: 'STRUCT(sku VARCHAR, n INTEGER)[]'})
