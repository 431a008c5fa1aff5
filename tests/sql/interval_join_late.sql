-- Late rows meet what is still there: 3 and 10 are close, but 3 is gone when 10 comes.

CREATE TABLE events (
  id BIGINT, k STRING, v INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/late.jsonl', 'format' = 'json');

SELECT a.id, b.id AS other_id
FROM (SELECT * FROM events WHERE k = 'a') AS a
JOIN (SELECT * FROM events WHERE k = 'b') AS b
ON a.ts BETWEEN b.ts - INTERVAL '1' SECOND AND b.ts + INTERVAL '1' SECOND;
