-- Window deduplication keeping the first row by event time.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT customer, order_id, product, ts, window_start, window_end
FROM (
  SELECT *, ROW_NUMBER() OVER (
              PARTITION BY window_start, window_end, customer ORDER BY ts ASC) AS rn
  FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '30' MINUTES))
) AS numbered
WHERE rn = 1;
