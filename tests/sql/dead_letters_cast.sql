-- By hand: a CAST that fails is a dead letter of its row; one for product `tea` and so on.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE MATERIALIZED VIEW numbers AS
SELECT order_id, CAST(CASE WHEN order_id > 3 THEN '7' ELSE product END AS INT) AS n FROM orders;

SELECT COUNT(*) AS failed FROM floodmark.dead_letters;
