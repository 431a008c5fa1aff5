-- Set operations compare whole rows.

CREATE TABLE staff (
  id BIGINT, name STRING, dept BIGINT, boss BIGINT, pay INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND,
  PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/staff.jsonl', 'format' = 'changelog-json');

SELECT dept, pay FROM staff INTERSECT ALL SELECT dept, pay FROM staff WHERE id <> 3;
