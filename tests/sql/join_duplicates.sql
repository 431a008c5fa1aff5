-- Equal rows multiply.

CREATE TABLE tasks (
  task BIGINT, staff BIGINT, hours INT, tag STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/tasks.jsonl', 'format' = 'json');

SELECT t.tag, u.tag AS other
FROM tasks AS t
JOIN tasks AS u ON t.hours = u.hours
WHERE t.staff = 1 AND u.staff = 2;
