-- Rows that appear after some minutes.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, qty FROM orders WHERE ts + INTERVAL '30' MINUTE <= CURRENT_TIMESTAMP AND qty > 1;
