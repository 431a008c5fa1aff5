-- Nothing of nothing.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY product ORDER BY price) AS rn FROM (SELECT * FROM orders WHERE order_id < 0) AS none) AS ranked
WHERE rn <= 3;
