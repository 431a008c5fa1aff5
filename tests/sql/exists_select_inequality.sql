-- EXISTS by an inequality as a value.

CREATE TABLE staff (
  id BIGINT, name STRING, dept BIGINT, boss BIGINT, pay INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND,
  PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/staff.jsonl', 'format' = 'changelog-json');

SELECT s.name, CASE WHEN EXISTS (SELECT 1 FROM staff AS o WHERE o.pay > s.pay) THEN 'less' ELSE
  'most' END AS paid FROM staff AS s;
