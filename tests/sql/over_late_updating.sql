-- Where results change a late row counts: nothing is lost.

CREATE TABLE events (
  id BIGINT, k STRING, v INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/late.jsonl', 'format' = 'json');

SELECT id, k, LEAD(v) OVER (PARTITION BY k ORDER BY ts, id) AS next FROM events;
