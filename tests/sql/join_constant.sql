-- A join with constant rows.

CREATE TABLE staff (
  id BIGINT, name STRING, dept BIGINT, boss BIGINT, pay INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND,
  PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/staff.jsonl', 'format' = 'changelog-json');

SELECT s.name, v.label FROM staff AS s JOIN (VALUES (10, 'ten'), (20, 'twenty')) AS v (dept,
  label) ON s.dept = v.dept;
