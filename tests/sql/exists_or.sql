-- EXISTS beside OR.

CREATE TABLE staff (
  id BIGINT, name STRING, dept BIGINT, boss BIGINT, pay INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND,
  PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/staff.jsonl', 'format' = 'changelog-json');

CREATE TABLE tasks (
  task BIGINT, staff BIGINT, hours INT, tag STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/tasks.jsonl', 'format' = 'json');

SELECT s.name FROM staff AS s WHERE s.boss IS NULL OR EXISTS (SELECT 1 FROM tasks AS t WHERE
  t.staff = s.id AND t.hours = 8);
