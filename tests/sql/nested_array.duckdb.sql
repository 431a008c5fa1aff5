SELECT id, tags[1] AS t1, tags[2] AS t2, tags[3] AS t3, len(tags) AS n, r.b.d[2] AS d2, items[2].n AS n2
        FROM read_json('data/nested.jsonl', format = 'newline_delimited', columns = {
          id: 'INTEGER', r: 'STRUCT(a INTEGER, b STRUCT(c VARCHAR, d DOUBLE[]))', tags: 'VARCHAR[]',
          m: 'MAP(VARCHAR, INTEGER)', items: 'STRUCT(sku VARCHAR, n INTEGER)[]'})
