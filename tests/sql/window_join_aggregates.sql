-- A window join of two windowed aggregates.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE TABLE shipments (
  order_id BIGINT, carrier STRING, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/shipments.jsonl', 'format' = 'json');

CREATE VIEW ordered AS
SELECT window_start, window_end, COUNT(*) AS n
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '20' MINUTES))
GROUP BY window_start, window_end;

CREATE VIEW shipped AS
SELECT window_start, window_end, COUNT(*) AS n
FROM TABLE(TUMBLE(TABLE shipments, DESCRIPTOR(ts), INTERVAL '20' MINUTES))
GROUP BY window_start, window_end;

SELECT o.window_start, o.n AS ordered_n, s.n AS shipped_n, o.n - s.n AS difference
FROM ordered AS o JOIN shipped AS s
  ON o.window_start = s.window_start AND o.window_end = s.window_end;
