-- FILTER on each kind of aggregate; an unknown condition is not true.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT window_start, product, COUNT(*) FILTER (WHERE qty > 4) AS many, SUM(price) FILTER (WHERE customer = 'bob') AS bob, MAX(qty) FILTER (WHERE price < 30) AS q, COUNT(DISTINCT customer) FILTER (WHERE qty >= 5) AS customers
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '30' MINUTES))
GROUP BY window_start, window_end, product;
