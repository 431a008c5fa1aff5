-- Parts of a timestamp, before 1970 too.

CREATE TABLE old_events (
  id BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' DAY
) WITH ('connector' = 'filesystem', 'path' = 'data/old.jsonl', 'format' = 'json');

SELECT id, YEAR(ts) AS y, QUARTER(ts) AS q, MONTH(ts) AS mo, DAYOFMONTH(ts) AS d, HOUR(ts) AS h, MINUTE(ts) AS mi, SECOND(ts) AS s,
       EXTRACT(HOUR FROM ts) AS eh, EXTRACT(DAY FROM ts) AS ed, CAST(ts AS DATE) AS day_of
FROM old_events;
