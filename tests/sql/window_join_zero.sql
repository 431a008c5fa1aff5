-- Zero is equal to minus zero, also as the key of a window join.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT COUNT(*) AS n
FROM (
  SELECT CAST(order_id - order_id AS DOUBLE) * CAST(-1 AS DOUBLE) AS z, window_start, window_end
  FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '10' MINUTES))
) AS a
JOIN (
  SELECT CAST(order_id - order_id AS DOUBLE) AS z, window_start, window_end
  FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '10' MINUTES))
) AS b
ON a.z = b.z AND a.window_start = b.window_start AND a.window_end = b.window_end;
