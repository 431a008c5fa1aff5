-- Whole rows before and after make a collection without any key.

CREATE TABLE stock (
  id INT, name STRING, qty INT, price DECIMAL(10, 2), ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/stock.debezium.jsonl', 'format' = 'debezium-json');

SELECT id, name, qty, price, ts FROM stock;
