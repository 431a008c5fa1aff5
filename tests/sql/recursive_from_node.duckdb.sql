WITH RECURSIVE log AS (
  SELECT row_number() OVER () AS place, op, data.id AS id, data.src AS src, data.dst AS dst, data.w AS w
  FROM read_json('data/links.changes.jsonl', format = 'newline_delimited')
), links AS (
  SELECT id, src, dst, w FROM log WHERE op <> '-U'
  QUALIFY row_number() OVER (PARTITION BY id ORDER BY place DESC) = 1 AND op <> '-D'
), plain AS (SELECT src, dst FROM links WHERE w < 9), reach AS (SELECT dst AS node FROM plain WHERE src = 3 UNION SELECT p.dst FROM plain p, reach r WHERE p.src = r.node) SELECT count(*) AS c, max(node) AS m FROM reach WHERE node > 10
