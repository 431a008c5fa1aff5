-- A time resolution of one minute: all updates of a minute are one change.

CREATE TABLE clicks (
  user_id STRING, page STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/clicks.jsonl', 'format' = 'json');

SET 'time_resolution' = '1 min';

SELECT user_id, COUNT(*) AS n, SUM(EXTRACT(SECOND FROM ts)) AS total FROM clicks GROUP BY user_id;
