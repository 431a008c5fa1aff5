-- By hand: with json.ignore-parse-errors a broken record is skipped and a bad field is NULL, as in Flink.

CREATE TABLE events (id BIGINT, v INT, ts STRING) WITH (
  'connector' = 'filesystem', 'path' = 'data/bad.jsonl', 'format' = 'json',
  'json.ignore-parse-errors' = 'true'
);

SELECT id, v FROM events;
