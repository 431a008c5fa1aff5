WITH RECURSIVE log AS (
  SELECT row_number() OVER () AS place, op, data.id AS id, data.src AS src, data.dst AS dst, data.w AS w
  FROM read_json('data/links.changes.jsonl', format = 'newline_delimited')
), links AS (
  SELECT id, src, dst, w FROM log WHERE op <> '-U'
  QUALIFY row_number() OVER (PARTITION BY id ORDER BY place DESC) = 1 AND op <> '-D'
), walk AS (SELECT src AS a, dst AS b, 1 AS parity FROM links UNION SELECT w.a, l.dst, 1 - w.parity FROM walk w JOIN links l ON w.b = l.src) SELECT o.a, o.b FROM walk o JOIN walk e ON o.a = e.a AND o.b = e.b AND o.parity = 1 AND e.parity = 0
