-- An aggregate of a join with an updating side.

CREATE TABLE staff (
  id BIGINT, name STRING, dept BIGINT, boss BIGINT, pay INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND,
  PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/staff.jsonl', 'format' = 'changelog-json');

CREATE TABLE depts (
  dept BIGINT, title STRING, cap INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/depts.jsonl', 'format' = 'json');

SELECT d.title, COUNT(*) AS n, SUM(s.pay) AS pay, MIN(s.name) AS first FROM depts AS d JOIN staff
  AS s ON d.dept = s.dept GROUP BY d.title;
