-- MAX over an updating input needs its whole multiset.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT MAX(n) AS most, MIN(n) AS least, COUNT(DISTINCT n) AS kinds
FROM (SELECT product, customer, COUNT(*) AS n FROM orders GROUP BY product, customer) AS c;
