-- Settings of a script: known keys are taken and do not change results.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SET 'time_resolution' = '1 s';
SET 'source.split_bytes' = '512';

SELECT product, COUNT(*) AS n FROM orders GROUP BY product;
