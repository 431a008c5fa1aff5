-- DATE_FORMAT takes the patterns of Java.

CREATE TABLE old_events (
  id BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' DAY
) WITH ('connector' = 'filesystem', 'path' = 'data/old.jsonl', 'format' = 'json');

SELECT id, DATE_FORMAT(ts, 'yyyy-MM-dd HH:mm:ss.SSS') AS full_text, DATE_FORMAT(ts, 'dd.MM.yy') AS short_text,
       DATE_FORMAT(ts, 'HH''h''mm') AS quoted, DATE_FORMAT(ts, 'yyyyMMddHHmmss') AS packed
FROM old_events;
