-- Comparisons across widths, dates and timestamps.

CREATE TABLE kinds (
  b BOOLEAN, t TINYINT, s SMALLINT, i INT, l BIGINT, f FLOAT, d DOUBLE,
  c DECIMAL(10, 3), big DECIMAL(38, 9), `day` DATE, tod TIME,
  t0 TIMESTAMP(0), t3 TIMESTAMP(3), t6 TIMESTAMP(6), tz TIMESTAMP_LTZ(3),
  vc VARCHAR(100), bin BYTES
) WITH ('connector' = 'filesystem', 'path' = 'data/types.jsonl', 'format' = 'json');

SELECT t < s AS ts_less, i > l AS il_more, f = 1.5 AS f_eq, c > 0 AS c_pos,
       `day` = DATE '2024-02-29' AS leap, t3 > TIMESTAMP '1970-01-01 00:00:00' AS modern,
       t3 BETWEEN TIMESTAMP '1969-01-01 00:00:00.000' AND TIMESTAMP '1970-01-01 00:00:00.000' AS old
FROM kinds;
