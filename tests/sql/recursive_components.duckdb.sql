WITH RECURSIVE log AS (
  SELECT row_number() OVER () AS place, op, data.id AS id, data.src AS src, data.dst AS dst, data.w AS w
  FROM read_json('data/links.changes.jsonl', format = 'newline_delimited')
), links AS (
  SELECT id, src, dst, w FROM log WHERE op <> '-U'
  QUALIFY row_number() OVER (PARTITION BY id ORDER BY place DESC) = 1 AND op <> '-D'
), both_ways AS (SELECT src AS a, dst AS b FROM links UNION SELECT dst, src FROM links UNION SELECT src, src FROM links UNION SELECT dst, dst FROM links), closure AS (SELECT a, b FROM both_ways UNION SELECT c.a, e.b FROM closure c JOIN both_ways e ON c.b = e.a) SELECT label, count(*) AS nodes FROM (SELECT a, min(b) AS label FROM closure GROUP BY a) GROUP BY label
