-- BYTES are base64 in JSON and in CSV.

CREATE TABLE kinds (
  b BOOLEAN, t TINYINT, s SMALLINT, i INT, l BIGINT, f FLOAT, d DOUBLE,
  c DECIMAL(10, 3), big DECIMAL(38, 9), `day` DATE, tod TIME,
  t0 TIMESTAMP(0), t3 TIMESTAMP(3), t6 TIMESTAMP(6), tz TIMESTAMP_LTZ(3),
  vc VARCHAR(100), bin BYTES
) WITH ('connector' = 'filesystem', 'path' = 'data/types.jsonl', 'format' = 'json');

SELECT bin FROM kinds WHERE t IS NULL OR t <> 0;
