-- Debezium's records beside their schema.

CREATE TABLE stock (
  id INT, name STRING, qty INT, price DECIMAL(10, 2), ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND,
  PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/stock.debezium_schema.jsonl', 'format' = 'debezium-json',
  'debezium-json.schema-include' = 'true');

SELECT id, name, qty, price, ts FROM stock;
