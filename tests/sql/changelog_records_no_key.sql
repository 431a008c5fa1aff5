-- The same without a key.

CREATE TABLE stock (
  id INT, name STRING, qty INT, price DECIMAL(10, 2), ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/stock.changes.jsonl', 'format' = 'changelog-json');

SELECT id, name, qty, price, ts FROM stock;
