-- MIN and MAX of numbers, strings and timestamps.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT window_start, product, MIN(qty) AS q0, MAX(qty) AS q1, MIN(price) AS p0, MAX(price) AS p1, MIN(customer) AS c0, MAX(customer) AS c1, MIN(ts) AS t0, MAX(ts) AS t1
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '30' MINUTES))
GROUP BY window_start, window_end, product;
