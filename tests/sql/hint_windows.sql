-- Windows, sessions, joins by time, OVER and DISTINCT, on other workers than what they read.

SET 'parallelism' = '3';

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json',
  'scan.parallelism' = '2');

CREATE TABLE prices (
  product STRING, price DECIMAL(10, 2), since TIMESTAMP(3),
  WATERMARK FOR since AS since - INTERVAL '5' MINUTE,
  PRIMARY KEY (product) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/prices.csv', 'format' = 'csv',
  'parallelism' = '1');

SELECT 'window' AS what, w.customer AS who, w.n, w.at
FROM (
  SELECT /*+ PARALLELISM(2) */ customer, COUNT(*) AS n, window_end AS at
  FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '1' HOUR))
  GROUP BY customer, window_start, window_end
) AS w
UNION ALL
SELECT /*+ PARALLELISM(1) */ 'session', customer, COUNT(*), window_end
FROM TABLE(SESSION(TABLE orders PARTITION BY customer, DESCRIPTOR(ts), INTERVAL '30' MINUTE))
GROUP BY customer, window_start, window_end
UNION ALL
SELECT /*+ PARALLELISM(2) */ 'temporal', o.product, o.order_id, p.since
FROM orders AS o
LEFT JOIN prices FOR SYSTEM_TIME AS OF o.ts AS p ON o.product = p.product
UNION ALL
SELECT /*+ PARALLELISM(2) */ 'interval', a.customer, COUNT(*), MAX(b.ts)
FROM orders AS a JOIN orders AS b ON a.customer = b.customer
  AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '1' HOUR
GROUP BY a.customer
UNION ALL
SELECT /*+ PARALLELISM(2) */ 'over', customer,
  COUNT(*) OVER (PARTITION BY customer ORDER BY ts), ts
FROM orders
UNION ALL
SELECT /*+ PARALLELISM(1) */ DISTINCT 'distinct', product, CAST(0 AS BIGINT), CAST(NULL AS TIMESTAMP(3))
FROM orders
UNION ALL
SELECT 'now', customer, COUNT(*), MAX(ts) FROM (
  SELECT /*+ PARALLELISM(2) */ customer, product, MAX(ts) AS ts FROM orders GROUP BY customer, product
) AS latest GROUP BY customer;
