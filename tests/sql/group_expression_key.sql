-- Keys that are expressions.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT MOD(order_id, 3) AS m, qty > 4 AS many, COUNT(*) AS n FROM orders GROUP BY MOD(order_id, 3), qty > 4;
