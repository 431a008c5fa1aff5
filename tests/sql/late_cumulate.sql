-- A row late for the first cumulating windows still counts in the later ones.

CREATE TABLE events (
  id BIGINT, k STRING, v INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/late.jsonl', 'format' = 'json');

SELECT window_start, window_end, SUM(v) AS v
FROM TABLE(CUMULATE(TABLE events, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '20' SECOND))
GROUP BY window_start, window_end;
