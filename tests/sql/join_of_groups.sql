-- A join of two updating aggregates.

CREATE TABLE staff (
  id BIGINT, name STRING, dept BIGINT, boss BIGINT, pay INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND,
  PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/staff.jsonl', 'format' = 'changelog-json');

SELECT a.dept, a.n, b.most FROM (SELECT dept, COUNT(*) AS n FROM staff GROUP BY dept) AS a JOIN
  (SELECT dept, MAX(pay) AS most FROM staff GROUP BY dept) AS b ON a.dept = b.dept;
