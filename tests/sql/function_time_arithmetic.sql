-- Timestamps and intervals; TIMESTAMPDIFF counts whole units towards zero.

CREATE TABLE old_events (
  id BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' DAY
) WITH ('connector' = 'filesystem', 'path' = 'data/old.jsonl', 'format' = 'json');

SELECT id, ts + INTERVAL '90' MINUTE AS later, ts - INTERVAL '1' DAY AS before_ts,
       TIMESTAMPDIFF(MINUTE, TIMESTAMP '1970-01-01 00:00:00', ts) AS minutes,
       TIMESTAMPDIFF(HOUR, TIMESTAMP '1970-01-01 00:00:00', ts) AS hours,
       TIMESTAMPDIFF(SECOND, ts, TIMESTAMP '1970-01-01 00:00:00') AS seconds,
       TIMESTAMPADD(HOUR, 2, ts) AS plus_two
FROM old_events;
