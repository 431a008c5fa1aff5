-- Timestamps from and to text and numbers.

CREATE TABLE old_events (
  id BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' DAY
) WITH ('connector' = 'filesystem', 'path' = 'data/old.jsonl', 'format' = 'json');

SELECT id, CAST(ts AS STRING) AS as_text, TO_TIMESTAMP(DATE_FORMAT(ts, 'yyyy-MM-dd HH:mm:ss')) AS parsed,
       TO_TIMESTAMP(DATE_FORMAT(ts, 'dd/MM/yyyy HH:mm'), 'dd/MM/yyyy HH:mm') AS by_pattern,
       TO_DATE(DATE_FORMAT(ts, 'yyyy-MM-dd')) AS day_of, CAST('2024-02-29 01:02:03.004' AS TIMESTAMP(3)) AS fixed
FROM old_events;
