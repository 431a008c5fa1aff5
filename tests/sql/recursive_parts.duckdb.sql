WITH RECURSIVE log AS (
  SELECT row_number() OVER () AS place, op, data.id AS id, data.src AS src, data.dst AS dst, data.w AS w
  FROM read_json('data/links.changes.jsonl', format = 'newline_delimited')
), links AS (
  SELECT id, src, dst, w FROM log WHERE op <> '-U'
  QUALIFY row_number() OVER (PARTITION BY id ORDER BY place DESC) = 1 AND op <> '-D'
), parts AS (SELECT src AS whole, dst AS part, w AS qty FROM links WHERE src < dst UNION ALL SELECT p.whole, l.dst, p.qty * l.w FROM parts p JOIN links l ON p.part = l.src WHERE l.src < l.dst) SELECT whole, part, sum(qty) AS total, count(*) AS paths FROM parts GROUP BY whole, part
