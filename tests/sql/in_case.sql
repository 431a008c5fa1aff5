-- IN inside of CASE keeps its NULL.

CREATE TABLE staff (
  id BIGINT, name STRING, dept BIGINT, boss BIGINT, pay INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND,
  PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/staff.jsonl', 'format' = 'changelog-json');

CREATE TABLE depts (
  dept BIGINT, title STRING, cap INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/depts.jsonl', 'format' = 'json');

SELECT name FROM staff WHERE CASE WHEN dept IN (SELECT dept FROM depts WHERE cap > 2) THEN 'in'
  WHEN NOT (dept IN (SELECT dept FROM depts WHERE cap > 2)) THEN 'out' ELSE 'unknown' END =
  'unknown';
