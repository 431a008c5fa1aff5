-- What stands around the rows, as columns.

CREATE TABLE stock (
  id INT, name STRING, qty INT, price DECIMAL(10, 2), ts TIMESTAMP(3),
  read_ts TIMESTAMP_LTZ(3) METADATA FROM 'ingestion-timestamp' VIRTUAL,
  source_ts TIMESTAMP_LTZ(3) METADATA FROM 'value.source.timestamp' VIRTUAL,
  origin STRING METADATA FROM 'source.database' VIRTUAL,
  `table` STRING METADATA FROM 'source.table' VIRTUAL,
  file STRING METADATA FROM 'file.name' VIRTUAL,
  WATERMARK FOR ts AS ts - INTERVAL '3' SECOND,
  PRIMARY KEY (id) NOT ENFORCED
) WITH ('connector' = 'filesystem', 'path' = 'data/stock.debezium.jsonl', 'format' = 'debezium-json');

SELECT id, origin, `table`, source_ts, read_ts, file FROM stock;
