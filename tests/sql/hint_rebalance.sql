-- One worker reads; what it reads is dealt out to all, for what works on rows one by one.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json',
  'scan.parallelism' = '1', 'scan.rebalance' = 'true');

SELECT customer, UPPER(product) AS product, window_start, COUNT(*) AS n, SUM(qty) AS pieces
FROM TABLE(HOP(TABLE orders, DESCRIPTOR(ts), INTERVAL '30' MINUTES, INTERVAL '1' HOUR))
WHERE qty > 1
GROUP BY customer, UPPER(product), window_start, window_end
UNION ALL
SELECT customer, product, ts, order_id, qty
FROM orders /*+ OPTIONS('scan.parallelism' = '3', 'scan.rebalance' = 'false') */ WHERE qty > 2;
