-- Without WATERMARK the data is the same; only time differs.

CREATE TABLE orders (order_id BIGINT, product STRING, qty INT)
WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

SELECT product, SUM(qty) AS qty FROM orders GROUP BY product;
