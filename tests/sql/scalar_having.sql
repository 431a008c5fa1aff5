-- A scalar subquery in HAVING.

CREATE TABLE staff (
  id BIGINT, name STRING, dept BIGINT, boss BIGINT, pay INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND,
  PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/staff.jsonl', 'format' = 'changelog-json');

SELECT dept, SUM(pay) AS total FROM staff GROUP BY dept HAVING SUM(pay) > (SELECT SUM(pay) * 0.2
  FROM staff);
