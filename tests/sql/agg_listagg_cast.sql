-- LISTAGG casts what is no text.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT product, LISTAGG(order_id) AS ids, LISTAGG(price, ';') AS prices, LISTAGG(DISTINCT qty, '/') AS quantities
FROM (SELECT * FROM orders WHERE ts < TIMESTAMP '2024-03-01 09:30:00') AS early GROUP BY product;
