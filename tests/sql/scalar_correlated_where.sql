-- A correlated aggregate in WHERE.

CREATE TABLE staff (
  id BIGINT, name STRING, dept BIGINT, boss BIGINT, pay INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND,
  PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/staff.jsonl', 'format' = 'changelog-json');

SELECT s.name, s.pay FROM staff AS s WHERE s.pay >= (SELECT AVG(o.pay) FROM staff AS o WHERE
  o.dept = s.dept);
