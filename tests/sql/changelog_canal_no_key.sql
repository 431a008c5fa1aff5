-- Canal's records without a key: the old rows are completed from the new ones.

CREATE TABLE stock (
  id INT, name STRING, qty INT, price DECIMAL(10, 2), ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/stock.canal.jsonl', 'format' = 'canal-json',
  'canal-json.table.include' = 'stock');

SELECT id, name, qty, price, ts FROM stock;
