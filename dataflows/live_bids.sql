-- A job that never ends: views over generated auctions and bids, to be read while they change.
--
-- floodmark serve --job dataflows/live_bids.sql
-- curl http://127.0.0.1:8080/v1/views/channels

CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING,
  `dateTime` TIMESTAMP(3), extra STRING,
  WATERMARK FOR `dateTime` AS `dateTime` - INTERVAL '4' SECOND
) WITH (
  'connector' = 'nexmark',
  'nexmark.table' = 'bid',
  'events-per-second' = '1000',
  'rate' = '1000'
);

-- One row a channel, updated for ever: five keys bound it.
CREATE MATERIALIZED VIEW channels AS
SELECT channel, COUNT(*) AS bids, MAX(price) AS highest, AVG(price) AS mean
FROM (
  SELECT CASE WHEN channel IN ('Google', 'Facebook', 'Baidu', 'Apple') THEN channel
              ELSE 'other' END AS channel, price
  FROM bid
) AS named
GROUP BY channel;

-- One row every ten seconds: the auction with most bids.
CREATE MATERIALIZED VIEW hottest AS
SELECT window_start, window_end, auction, bids
FROM (
  SELECT *, ROW_NUMBER() OVER (
              PARTITION BY window_start, window_end ORDER BY bids DESC, auction ASC) AS place
  FROM (
    SELECT window_start, window_end, auction, COUNT(*) AS bids
    FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '10' SECOND))
    GROUP BY window_start, window_end, auction
  ) AS counted
) AS ranked
WHERE place = 1;
