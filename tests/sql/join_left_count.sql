-- COUNT over a left join: groups without a match count 0.

CREATE TABLE staff (
  id BIGINT, name STRING, dept BIGINT, boss BIGINT, pay INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND,
  PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/staff.jsonl', 'format' = 'changelog-json');

CREATE TABLE tasks (
  task BIGINT, staff BIGINT, hours INT, tag STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/tasks.jsonl', 'format' = 'json');

SELECT s.id, COUNT(t.task) AS n FROM staff AS s LEFT JOIN tasks AS t ON t.staff = s.id GROUP BY
  s.id;
