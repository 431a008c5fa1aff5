"""The Nexmark queries of scripts/bench: their sinks, and the same questions for other engines."""

BID = "auction BIGINT, bidder BIGINT, price BIGINT"
STATS = ("total_bids BIGINT, rank1_bids BIGINT, rank2_bids BIGINT, rank3_bids BIGINT, "
         "total_bidders BIGINT, rank1_bidders BIGINT, rank2_bidders BIGINT, rank3_bidders BIGINT, "
         "total_auctions BIGINT, rank1_auctions BIGINT, rank2_auctions BIGINT, "
         "rank3_auctions BIGINT")
REST = "channel STRING, url STRING, `dateTime` TIMESTAMP(3), extra STRING"
AUCTION = ("id BIGINT, itemName STRING, initialBid BIGINT, reserve BIGINT, "
           "`dateTime` TIMESTAMP(3), expires TIMESTAMP(3), seller BIGINT, category BIGINT")
SPAN = "window_start TIMESTAMP(3), window_end TIMESTAMP(3)"

# The columns that each query fills its sink with.
SINKS = {
    "q0": f"{BID}, `dateTime` TIMESTAMP(3), extra STRING",
    "q1": "auction BIGINT, bidder BIGINT, price DECIMAL(23, 3), `dateTime` TIMESTAMP(3), "
          "extra STRING",
    "q2": "auction BIGINT, price BIGINT",
    "q3": "name STRING, city STRING, state STRING, id BIGINT",
    "q4": "category BIGINT, avg_final BIGINT",
    "q5": f"auction BIGINT, num BIGINT, {SPAN}",
    "q6": "seller BIGINT, `dateTime` TIMESTAMP(3), id BIGINT, avg_price BIGINT",
    "q7": "auction BIGINT, price BIGINT, bidder BIGINT, `dateTime` TIMESTAMP(3), extra STRING",
    "q8": "id BIGINT, name STRING, window_start TIMESTAMP(3)",
    "q9": f"{AUCTION}, bidder BIGINT, price BIGINT, bid_time TIMESTAMP(3)",
    "q10": f"{BID}, `dateTime` TIMESTAMP(3), extra STRING, dt STRING, hm STRING",
    "q11": f"bidder BIGINT, bid_count BIGINT, {SPAN}",
    "q12": "bidder BIGINT, bid_count BIGINT",
    "q13": f"{BID}, `dateTime` TIMESTAMP(3), `value` STRING",
    "q14": "auction BIGINT, bidder BIGINT, price DECIMAL(23, 3), bid_time_type STRING, "
           "`dateTime` TIMESTAMP(3), extra STRING, c_counts INT",
    "q15": f"`day` STRING, {STATS}",
    "q16": f"channel STRING, `day` STRING, `minute` STRING, {STATS}",
    "q17": "auction BIGINT, `day` STRING, total_bids BIGINT, rank1_bids BIGINT, "
           "rank2_bids BIGINT, rank3_bids BIGINT, min_price BIGINT, max_price BIGINT, "
           "avg_price BIGINT, sum_price BIGINT",
    "q18": f"{BID}, {REST}",
    "q19": f"{BID}, {REST}, rn BIGINT",
    "q20": f"{BID}, channel STRING, url STRING, bid_time TIMESTAMP(3), itemName STRING, "
           "initialBid BIGINT, reserve BIGINT, auction_time TIMESTAMP(3), expires TIMESTAMP(3), "
           "seller BIGINT, category BIGINT",
    "q21": f"{BID}, channel STRING, channel_id STRING",
    "q22": f"{BID}, channel STRING, dir1 STRING, dir2 STRING, dir3 STRING",
}

RANKS = """
  count(*) AS total_bids,
  count(*) FILTER (price < 10000) AS rank1_bids,
  count(*) FILTER (price >= 10000 AND price < 1000000) AS rank2_bids,
  count(*) FILTER (price >= 1000000) AS rank3_bids"""
DISTINCTS = RANKS + "".join(
    f""",
  count(DISTINCT {column}) AS total_{column}s,
  count(DISTINCT {column}) FILTER (price < 10000) AS rank1_{column}s,
  count(DISTINCT {column}) FILTER (price >= 10000 AND price < 1000000) AS rank2_{column}s,
  count(DISTINCT {column}) FILTER (price >= 1000000) AS rank3_{column}s"""
    for column in ["bidder", "auction"])
DAY = "strftime(dateTime, '%Y-%m-%d')"

# The same questions in DuckDB's SQL, where the query's own text is not.
DUCKDB = {
    "q0": "SELECT auction, bidder, price, dateTime, extra FROM bid",
    "q1": "SELECT auction, bidder, 0.908 * price AS price, dateTime, extra FROM bid",
    "q2": "SELECT auction, price FROM bid WHERE auction % 123 = 0",
    "q5": """
      WITH counts AS (
        SELECT auction, count(*) AS num, start
        FROM (SELECT auction, unnest([time_bucket(INTERVAL 2 SECOND, dateTime) - k * INTERVAL 2 SECOND
                                      FOR k IN [0, 1, 2, 3, 4]]) AS start FROM bid)
        GROUP BY auction, start)
      SELECT auction, num, start, start + INTERVAL 10 SECOND AS window_end
      FROM counts JOIN (SELECT max(num) AS most, start FROM counts GROUP BY start) USING (start)
      WHERE num >= most""",
    "q7": """
      SELECT b.auction, b.price, b.bidder, b.dateTime, b.extra
      FROM bid AS b JOIN (
        SELECT max(price) AS most, time_bucket(INTERVAL 10 SECOND, dateTime) AS start
        FROM bid GROUP BY start) AS top
      ON b.price = top.most AND time_bucket(INTERVAL 10 SECOND, b.dateTime) = top.start""",
    "q8": """
      SELECT DISTINCT p.id, p.name, p.start
      FROM (SELECT id, name, time_bucket(INTERVAL 10 SECOND, dateTime) AS start FROM person) AS p
      JOIN (SELECT seller, time_bucket(INTERVAL 10 SECOND, dateTime) AS start FROM auction) AS a
        ON p.id = a.seller AND p.start = a.start""",
    "q10": """SELECT auction, bidder, price, dateTime, extra, strftime(dateTime, '%Y-%m-%d') AS dt,
      strftime(dateTime, '%H:%M') AS hm FROM bid""",
    "q11": """
      WITH marked AS (
        SELECT bidder, dateTime, CASE WHEN dateTime - lag(dateTime) OVER w <= INTERVAL 10 SECOND
          THEN 0 ELSE 1 END AS opens FROM bid WINDOW w AS (PARTITION BY bidder ORDER BY dateTime)),
      numbered AS (SELECT *, sum(opens) OVER (PARTITION BY bidder ORDER BY dateTime) AS n FROM marked)
      SELECT bidder, count(*) AS bid_count, min(dateTime), max(dateTime) + INTERVAL 10 SECOND
      FROM numbered GROUP BY bidder, n""",
    "q12": "SELECT bidder, count(*) AS bid_count FROM bid GROUP BY bidder",
    "q14": """
      SELECT auction, bidder, 0.908 * price AS price,
        CASE WHEN hour(dateTime) >= 8 AND hour(dateTime) <= 18 THEN 'dayTime'
             WHEN hour(dateTime) <= 6 OR hour(dateTime) >= 20 THEN 'nightTime'
             ELSE 'otherTime' END AS bid_time_type,
        dateTime, extra, length(extra) - length(replace(extra, 'c', '')) AS c_counts
      FROM bid WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000""",
    "q15": f"SELECT {DAY} AS day, {DISTINCTS} FROM bid GROUP BY 1",
    "q16": f"""SELECT channel, {DAY} AS day, max(strftime(dateTime, '%H:%M')) AS minute, {DISTINCTS}
      FROM bid GROUP BY 1, 2""",
    "q17": f"""SELECT auction, {DAY} AS day, {RANKS}, min(price), max(price),
      CAST(trunc(avg(price)) AS BIGINT), sum(price) FROM bid GROUP BY 1, 2""",
    "q21": r"""
      SELECT auction, bidder, price, channel,
        CASE WHEN lower(channel) = 'apple' THEN '0' WHEN lower(channel) = 'google' THEN '1'
             WHEN lower(channel) = 'facebook' THEN '2' WHEN lower(channel) = 'baidu' THEN '3'
             ELSE regexp_extract(url, '(&|^)channel_id=([^&]*)', 2) END AS channel_id
      FROM bid WHERE regexp_matches(url, '(&|^)channel_id=([^&]*)')
        OR lower(channel) IN ('apple', 'google', 'facebook', 'baidu')""",
    "q22": """SELECT auction, bidder, price, channel, split_part(url, '/', 4) AS dir1,
      split_part(url, '/', 5) AS dir2, split_part(url, '/', 6) AS dir3 FROM bid""",
}

# Flink's way to do fewer updates, on where it makes a query faster (and off where it does not).
FLINK_MINI_BATCH = """
SET 'table.exec.mini-batch.enabled' = 'true';
SET 'table.exec.mini-batch.allow-latency' = '2 s';
SET 'table.exec.mini-batch.size' = '50000';
SET 'table.optimizer.agg-phase-strategy' = 'TWO_PHASE';
"""
FLINK_MINI_BATCH_QUERIES = ["q4", "q17", "q19"]
