WITH RECURSIVE log AS (
  SELECT row_number() OVER () AS place, op, data.id AS id, data.src AS src, data.dst AS dst, data.w AS w
  FROM read_json('data/links.changes.jsonl', format = 'newline_delimited')
), links AS (
  SELECT id, src, dst, w FROM log WHERE op <> '-U'
  QUALIFY row_number() OVER (PARTITION BY id ORDER BY place DESC) = 1 AND op <> '-D'
), reach AS (SELECT src AS a, dst AS b FROM links UNION SELECT r.a, e.dst FROM reach r JOIN links e ON r.b = e.src) SELECT a, b FROM reach
