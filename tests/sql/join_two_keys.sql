-- Two keys.

CREATE TABLE staff (
  id BIGINT, name STRING, dept BIGINT, boss BIGINT, pay INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND,
  PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/staff.jsonl', 'format' = 'changelog-json');

SELECT a.name, b.name AS other
FROM staff AS a
JOIN staff AS b ON a.dept = b.dept AND a.pay = b.pay AND a.id <> b.id;
