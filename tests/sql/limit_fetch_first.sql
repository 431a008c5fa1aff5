-- FETCH FIRST in a subquery, with an offset.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT * FROM (SELECT order_id FROM orders ORDER BY order_id DESC OFFSET 3 ROWS FETCH FIRST 4 ROWS ONLY) AS few;
