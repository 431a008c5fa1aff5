-- ALL over groups.

CREATE TABLE staff (
  id BIGINT, name STRING, dept BIGINT, boss BIGINT, pay INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND,
  PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/staff.jsonl', 'format' = 'changelog-json');

SELECT dept, COUNT(*) AS n FROM staff GROUP BY dept HAVING COUNT(*) >= ALL (SELECT COUNT(*) FROM
  staff GROUP BY dept);
