-- Rows that take the place of those with their key; one with nothing but its key deletes it.

CREATE TABLE stock (
  id INT, name STRING, qty INT, price DECIMAL(10, 2), ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND,
  PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/stock.upserts.jsonl', 'format' = 'json',
  'changelog-mode' = 'upsert');

SELECT id, name, qty, price, ts FROM stock;
