-- Casts between numbers and text; TRY_CAST of what does not fit is NULL.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, CAST(price AS INT) AS i, CAST(qty AS STRING) AS s, CAST(CAST(order_id AS STRING) AS BIGINT) AS back,
       CAST(qty AS DECIMAL(10, 2)) AS d, CAST(price AS STRING) AS p, TRY_CAST(product AS INT) AS no, CAST(qty AS DOUBLE) AS f
FROM orders;
