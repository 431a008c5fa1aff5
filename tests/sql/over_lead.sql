-- The rows after: a result changes when they come.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, product, LEAD(price) OVER w AS next_price, LEAD(order_id, 2, -1) OVER w AS second_next,
  LAG(order_id) OVER w AS last
FROM orders WINDOW w AS (PARTITION BY product ORDER BY ts);
