-- A filter before the window and one after it.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE VIEW dear AS SELECT * FROM orders WHERE price > 20;

SELECT window_start, product, COUNT(*) AS n
FROM TABLE(TUMBLE(TABLE dear, DESCRIPTOR(ts), INTERVAL '30' MINUTES))
WHERE product <> 'salt'
GROUP BY window_start, window_end, product
HAVING COUNT(*) > 1;
