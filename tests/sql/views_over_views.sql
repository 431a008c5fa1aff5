-- Three views over one another, one of them used twice.

CREATE TABLE orders (
  order_id BIGINT, customer STRING, product STRING, qty INT, price DECIMAL(10, 2),
  ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE
) WITH ('connector' = 'filesystem', 'path' = 'data/orders.jsonl', 'format' = 'json');

CREATE VIEW known AS SELECT * FROM orders WHERE customer IS NOT NULL;
CREATE VIEW priced (id, who, worth) AS SELECT order_id, customer, qty * price FROM known;
CREATE VIEW worth_of AS SELECT who, SUM(worth) AS worth FROM priced GROUP BY who;

SELECT who, worth, 'sum' AS kind FROM worth_of
UNION ALL
SELECT who, MAX(worth) AS worth, 'max' AS kind FROM priced GROUP BY who;
