-- The best two customers of each window by their sum.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT window_start, window_end, customer, total, place
FROM (
  SELECT *, ROW_NUMBER() OVER (
              PARTITION BY window_start, window_end ORDER BY total DESC, customer ASC) AS place
  FROM (
    SELECT window_start, window_end, customer, SUM(price) AS total
    FROM TABLE(HOP(TABLE orders, DESCRIPTOR(ts), INTERVAL '15' MINUTES, INTERVAL '30' MINUTES))
    WHERE price IS NOT NULL
    GROUP BY window_start, window_end, customer
  ) AS sums
) AS ranked
WHERE place <= 2;
