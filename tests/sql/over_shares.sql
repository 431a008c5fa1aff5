-- Places as shares of the partition.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, product, qty, PERCENT_RANK() OVER (PARTITION BY product ORDER BY qty) AS percent,
  CUME_DIST() OVER (PARTITION BY product ORDER BY qty) AS share,
  NTILE(3) OVER (PARTITION BY product ORDER BY qty, order_id) AS third
FROM orders WHERE qty IS NOT NULL;
