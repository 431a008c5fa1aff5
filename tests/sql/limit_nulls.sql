-- NULL is the least value unless the query says otherwise.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT * FROM (SELECT qty, order_id FROM orders ORDER BY qty LIMIT 3) AS a
UNION ALL
SELECT * FROM (SELECT qty, order_id FROM orders ORDER BY qty DESC LIMIT 3) AS b
UNION ALL
SELECT * FROM (SELECT qty, order_id FROM orders ORDER BY qty DESC NULLS FIRST LIMIT 3) AS c;
