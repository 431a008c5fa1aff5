-- The same over frames that look ahead.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, product,
  FIRST_VALUE(price) OVER (w ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS first_price,
  LAST_VALUE(customer) RESPECT NULLS OVER (w ROWS BETWEEN 3 PRECEDING AND 1 FOLLOWING) AS last_customer,
  FIRST_VALUE(customer) RESPECT NULLS OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING) AS first_customer,
  LAST_VALUE(price) IGNORE NULLS OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING) AS last_price,
  NTH_VALUE(order_id, 2) OVER (w ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) AS second,
  NTH_VALUE(order_id, 3) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING) AS third
FROM orders WINDOW w AS (PARTITION BY product ORDER BY ts);
