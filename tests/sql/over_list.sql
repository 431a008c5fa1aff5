-- Lists over frames, in their order.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, LISTAGG(product, '+') OVER (PARTITION BY customer ORDER BY ts ROWS 2 PRECEDING) AS last_three,
  LISTAGG(product) OVER (PARTITION BY customer ORDER BY price DESC NULLS LAST, order_id) AS by_price
FROM orders;
