-- Pairs come at the greater of their times, padded rows when no partner can come any more.

CREATE TABLE events (
  id BIGINT, k STRING, v INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '2' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/late.jsonl', 'format' = 'json');

SELECT a.id, b.id AS other_id
FROM (SELECT * FROM events WHERE k = 'a' AND id < 9) AS a
FULL JOIN (SELECT * FROM events WHERE k = 'b') AS b
ON a.ts BETWEEN b.ts - INTERVAL '1' SECOND AND b.ts + INTERVAL '1' SECOND;
