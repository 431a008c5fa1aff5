-- An aggregate without a window applies late rows: nothing is dropped.

CREATE TABLE events (
  id BIGINT, k STRING, v INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/late.jsonl', 'format' = 'json');

SELECT k, COUNT(*) AS n, SUM(v) AS v, MIN(ts) AS first_ts FROM events GROUP BY k;
