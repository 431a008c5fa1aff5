-- Late rows of a view are readable as its late output.

CREATE TABLE events (
  id BIGINT, k STRING, v INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/late.jsonl', 'format' = 'json');

CREATE MATERIALIZED VIEW sums AS
SELECT window_start, SUM(v) AS v
FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY window_start, window_end;

SELECT window_end, COUNT(*) AS n FROM `sums$late` GROUP BY window_end;
