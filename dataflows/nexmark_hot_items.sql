-- The auctions with most bids in the last ten seconds, every two seconds: Nexmark query 5.
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

CREATE VIEW bids_per_auction AS
SELECT auction, COUNT(*) AS num, window_start, window_end
FROM TABLE(HOP(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
GROUP BY auction, window_start, window_end;

CREATE VIEW most_bids AS
SELECT MAX(num) AS max_num, window_start, window_end
FROM bids_per_auction
GROUP BY window_start, window_end;

SELECT b.auction, b.num, b.window_start, b.window_end
FROM bids_per_auction AS b
JOIN most_bids AS m
  ON b.window_start = m.window_start AND b.window_end = m.window_end AND b.num >= m.max_num;
