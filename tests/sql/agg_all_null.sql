-- A group whose values are all NULL: COUNT is 0, the others are NULL.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT COUNT(*) AS n, COUNT(qty) AS qtys, SUM(qty) AS s, MIN(qty) AS low, MAX(price) AS high,
       AVG(qty) AS mean, LISTAGG(CAST(qty AS STRING)) AS l
FROM orders WHERE qty IS NULL AND price IS NULL;
