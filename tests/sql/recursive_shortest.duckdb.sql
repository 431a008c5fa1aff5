WITH RECURSIVE log AS (
  SELECT row_number() OVER () AS place, op, data.id AS id, data.src AS src, data.dst AS dst, data.w AS w
  FROM read_json('data/links.changes.jsonl', format = 'newline_delimited')
), links AS (
  SELECT id, src, dst, w FROM log WHERE op <> '-U'
  QUALIFY row_number() OVER (PARTITION BY id ORDER BY place DESC) = 1 AND op <> '-D'
), dist AS (SELECT 3::BIGINT AS node, 0::BIGINT AS d UNION SELECT l.dst, s.d + l.w FROM dist s JOIN links l ON s.node = l.src WHERE s.d + l.w < 150) SELECT node, min(d) AS d FROM dist GROUP BY node
