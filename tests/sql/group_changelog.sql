-- An updating aggregate: one change a key and tick of 100 ms, at the start of the tick.

CREATE TABLE clicks (
  user_id STRING, page STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/clicks.jsonl', 'format' = 'json');

SELECT user_id, COUNT(*) AS n, SUM(EXTRACT(SECOND FROM ts)) AS total FROM clicks GROUP BY user_id;
