-- JSON lines packed by gzip, told by the name.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl.gz', 'format' = 'json');

SELECT order_id, customer, product, qty, price, ts FROM orders;
