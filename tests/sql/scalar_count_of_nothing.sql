-- COUNT of nothing is 0 from the start, before anything is there to count.

CREATE TABLE depts (
  dept BIGINT, title STRING, cap INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/depts.jsonl', 'format' = 'json');

CREATE TABLE tasks (
  task BIGINT, staff BIGINT, hours INT, tag STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/tasks.jsonl', 'format' = 'json');

SELECT title, (SELECT COUNT(*) FROM tasks WHERE staff = 77) AS n FROM depts;
