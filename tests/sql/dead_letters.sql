-- By hand: records that cannot be decoded are kept, with where they were.

CREATE TABLE events (
  id BIGINT, v INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/bad.jsonl', 'format' = 'json');

CREATE MATERIALIZED VIEW good AS SELECT * FROM events;

SELECT source, `offset`, record FROM floodmark.dead_letters;
