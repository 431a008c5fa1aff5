SELECT id, r.a AS a, r.b.c AS c, r.b.c AS c2, r.a + 1 AS next_a
        FROM read_json('data/nested.jsonl', format = 'newline_delimited', columns = {
          id: 'INTEGER', r: 'STRUCT(a INTEGER, b STRUCT(c VARCHAR, d DOUBLE[]))', tags: 'VARCHAR[]',
          m: 'MAP(VARCHAR, INTEGER)', items: 'STRUCT(sku VARCHAR, n INTEGER)[]'})
