-- A constant is one distinct value.

CREATE TABLE t (
  id INT, v INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts,
  PRIMARY KEY (id) NOT ENFORCED
) WITH (
  'connector' = 'filesystem', 'path' = 'data/random_update.changes.jsonl',
  'format' = 'changelog-json'
);

SELECT COUNT(DISTINCT 7) AS one, COUNT(DISTINCT FALSE) AS two FROM t;
