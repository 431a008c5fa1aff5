-- EXISTS by a key and an inequality.

CREATE TABLE staff (
  id BIGINT, name STRING, dept BIGINT, boss BIGINT, pay INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND,
  PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/staff.jsonl', 'format' = 'changelog-json');

SELECT s.name FROM staff AS s WHERE EXISTS (SELECT 1 FROM staff AS o WHERE o.dept = s.dept AND
  o.pay > s.pay);
