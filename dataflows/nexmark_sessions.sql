-- Bids of each bidder per session, a session being bids at most ten seconds apart: Nexmark query 11.
--
-- Input: floodmark generate nexmark --events 30000 --format json --out data/nexmark

CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING,
  `dateTime` TIMESTAMP(3), extra STRING,
  WATERMARK FOR `dateTime` AS `dateTime` - INTERVAL '4' SECOND
) WITH (
  'connector' = 'filesystem',
  'path' = 'data/nexmark/bid.jsonl',
  'format' = 'json'
);

SELECT bidder, COUNT(*) AS bid_count, window_start, window_end
FROM TABLE(SESSION(
  TABLE bid PARTITION BY bidder, DESCRIPTOR(`dateTime`), INTERVAL '10' SECOND
))
GROUP BY bidder, window_start, window_end;
