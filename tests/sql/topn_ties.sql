-- Ties are broken by the whole row.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE MATERIALIZED VIEW few AS
SELECT qty, order_id
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY qty ORDER BY product) AS rn FROM (SELECT qty, order_id, product FROM orders)) AS ranked
WHERE rn <= 2;

SELECT * FROM few;
