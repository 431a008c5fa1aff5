-- Both halves of an update have one time, although the watermark is the row-time itself.

CREATE TABLE t (
  id INT, v INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts,
  PRIMARY KEY (id) NOT ENFORCED
) WITH (
  'connector' = 'filesystem', 'path' = 'data/random_update.changes.jsonl',
  'format' = 'changelog-json'
);

SELECT id, v, ts FROM t;
