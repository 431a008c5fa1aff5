-- EXISTS of anything at all.

CREATE TABLE staff (
  id BIGINT, name STRING, dept BIGINT, boss BIGINT, pay INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND,
  PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/staff.jsonl', 'format' = 'changelog-json');

CREATE TABLE depts (
  dept BIGINT, title STRING, cap INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/depts.jsonl', 'format' = 'json');

SELECT title FROM depts WHERE EXISTS (SELECT 1 FROM staff WHERE pay > 150) AND NOT EXISTS (SELECT
  1 FROM staff WHERE pay > 1000);
