-- The table of q12: `bid` in processing time, so without a watermark.
CREATE TABLE bid_proc (
  auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING,
  `dateTime` TIMESTAMP(3), extra STRING,
  p_time AS PROCTIME()
) WITH ('connector' = 'filesystem', 'path' = 'bid.jsonl', 'format' = 'json');
