-- The same in a condition.

CREATE TABLE depts (
  dept BIGINT, title STRING, cap INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/depts.jsonl', 'format' = 'json');

CREATE TABLE tasks (
  task BIGINT, staff BIGINT, hours INT, tag STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/tasks.jsonl', 'format' = 'json');

SELECT title FROM depts WHERE (SELECT COUNT(*) FROM tasks WHERE staff = 78) = 0;
