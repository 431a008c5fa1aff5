-- Pairs for which the condition of a join fails are dead letters at the time of the pair, however
-- far the frontier moves at once.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE MATERIALIZED VIEW updating AS
SELECT a.order_id
FROM orders AS a LEFT JOIN (SELECT customer, COUNT(*) AS n FROM orders GROUP BY customer) AS b
  ON a.customer = b.customer AND 10 / (a.qty - b.n) > 0;

CREATE MATERIALIZED VIEW growing AS
SELECT a.order_id
FROM orders AS a JOIN orders AS b ON a.product = b.product AND 10 / (a.order_id + b.order_id - 60) > 0;

CREATE MATERIALIZED VIEW bounded AS
SELECT a.order_id
FROM orders AS a JOIN orders AS b
  ON a.customer = b.customer AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '10' MINUTES
    AND 10 / (a.order_id - b.order_id + 1) > 0;

SELECT `time`, reason, record FROM floodmark.dead_letters;
