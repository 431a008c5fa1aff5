-- A limit of nothing, and of more than there is.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT COUNT(*) AS n FROM (SELECT order_id FROM orders ORDER BY order_id LIMIT 0) AS a
UNION ALL
SELECT COUNT(*) FROM (SELECT order_id FROM orders ORDER BY order_id LIMIT 1000) AS b
UNION ALL
SELECT COUNT(*) FROM (SELECT order_id FROM orders OFFSET 30) AS c;
