-- A correlated NOT IN with NULLs.

CREATE TABLE staff (
  id BIGINT, name STRING, dept BIGINT, boss BIGINT, pay INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND,
  PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/staff.jsonl', 'format' = 'changelog-json');

SELECT s.id, s.dept FROM staff AS s WHERE s.dept NOT IN (SELECT b.dept FROM staff AS b WHERE
  b.boss = s.boss AND b.id <> s.id);
