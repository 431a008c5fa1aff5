-- IF, CASE, COALESCE, NULLIF, IFNULL.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, IF(qty > 4, 'many', 'few') AS i, CASE product WHEN 'tea' THEN 1 WHEN 'milk' THEN 2 ELSE 0 END AS c,
       COALESCE(customer, product, 'x') AS co, NULLIF(product, 'tea') AS nu, IFNULL(qty, 0) AS n0
FROM orders;
