WITH log AS (
  SELECT row_number() OVER () AS place, op, data.id AS id, data.name AS name, data.qty AS qty,
    CAST(data.price AS DECIMAL(10, 2)) AS price, CAST(data.ts AS TIMESTAMP) AS ts
  FROM read_json('data/stock.changes.jsonl', format = 'newline_delimited')
), stock AS (
  SELECT id, name, qty, price, ts FROM log WHERE op <> '-U'
  QUALIFY row_number() OVER (PARTITION BY id ORDER BY place DESC) = 1 AND op <> '-D'
)
SELECT id, name, qty, price, ts FROM stock
