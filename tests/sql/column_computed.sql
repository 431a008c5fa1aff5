-- Computed columns, one of them the event time.

CREATE TABLE orders (
  order_id BIGINT, qty INT, price DECIMAL(10, 2), ts STRING,
  event_time AS CAST(ts AS TIMESTAMP(3)),
  worth AS qty * price,
  WATERMARK FOR event_time AS event_time - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT window_start, SUM(worth) AS worth
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(event_time), INTERVAL '30' MINUTE))
GROUP BY window_start, window_end;
