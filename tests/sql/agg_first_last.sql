-- FIRST_VALUE and LAST_VALUE by event time, whatever the order of arrival; NULLs are left out.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT window_start, product, FIRST_VALUE(order_id) AS first_id, LAST_VALUE(order_id) AS last_id, FIRST_VALUE(qty) AS first_qty, LAST_VALUE(customer) AS last_customer
FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '30' MINUTES))
GROUP BY window_start, window_end, product;
