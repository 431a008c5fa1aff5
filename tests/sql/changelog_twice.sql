-- Two readings of a table that changes are one.

CREATE TABLE stock (
  id INT, name STRING, qty INT, price DECIMAL(10, 2), ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND,
  PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/stock.debezium.jsonl', 'format' = 'debezium-json');

SELECT name, COUNT(*) AS n, SUM(qty) AS qty, MIN(price) AS low, MAX(ts) AS last FROM stock GROUP BY name;

SELECT COUNT(*) AS n, COUNT(DISTINCT name) AS names FROM stock WHERE qty > 3;
