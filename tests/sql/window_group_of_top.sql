-- Rows that are spread by their window do not stay so behind a grouping by window and key.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT customer, COUNT(*) AS windows, MAX(n) AS most
FROM (
  SELECT window_start, window_end, customer, COUNT(*) AS n
  FROM (
    SELECT customer, window_start, window_end, ROW_NUMBER() OVER (
             PARTITION BY window_start, window_end ORDER BY price DESC, order_id) AS rn
    FROM TABLE(TUMBLE(TABLE orders, DESCRIPTOR(ts), INTERVAL '10' MINUTES))
  ) AS numbered
  WHERE rn <= 5
  GROUP BY window_start, window_end, customer
) AS tops
GROUP BY customer;
