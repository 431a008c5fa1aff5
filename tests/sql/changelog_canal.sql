-- Canal's records: several rows in each, only what changed in the old ones; another table's are left out.

CREATE TABLE stock (
  id INT, name STRING, qty INT, price DECIMAL(10, 2), ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND,
  PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/stock.canal.jsonl', 'format' = 'canal-json',
  'canal-json.table.include' = 'st.ck');

SELECT id, name, qty, price, ts FROM stock;
