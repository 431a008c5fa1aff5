-- Arithmetic: division of integers goes towards zero, MOD takes the sign of the dividend.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT order_id, qty / 2 AS half, -qty / 2 AS minus_half, MOD(-qty, 4) AS m, ABS(3 - qty) AS a, SIGN(qty - 5) AS sg,
       GREATEST(qty, 5) AS g, LEAST(qty, 5) AS l, POWER(CAST(qty AS DOUBLE), 2) AS p,
       ROUND(SQRT(CAST(qty AS DOUBLE)), 6) AS sq, FLOOR(qty / 2.0E0) AS fl, CEIL(qty / 2.0E0) AS ce,
       qty * price AS worth, price - 1 AS less, qty + order_id AS wide
FROM orders WHERE qty IS NOT NULL AND price IS NOT NULL;
