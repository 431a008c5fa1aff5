SELECT r.b.c AS c, COUNT(*) AS n, SUM(len(tags)) AS tags
        FROM read_json('data/nested.jsonl', format = 'newline_delimited', columns = {
          id: 'INTEGER', r: 'STRUCT(a INTEGER, b STRUCT(c VARCHAR, d DOUBLE[]))', tags: 'VARCHAR[]',
          m: 'MAP(VARCHAR, INTEGER)', items: 'STRUCT(sku VARCHAR, n INTEGER)[]'}) GROUP BY r.b.c
