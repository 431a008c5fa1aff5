-- By hand: a DECIMAL that meets a FLOAT or DOUBLE is a DOUBLE.

CREATE TABLE kinds (
  b BOOLEAN, t TINYINT, s SMALLINT, i INT, l BIGINT, f FLOAT, d DOUBLE,
  c DECIMAL(10, 3), big DECIMAL(38, 9), `day` DATE, tod TIME,
  t0 TIMESTAMP(0), t3 TIMESTAMP(3), t6 TIMESTAMP(6), tz TIMESTAMP_LTZ(3),
  vc VARCHAR(100), bin BYTES
) WITH ('connector' = 'filesystem', 'path' = 'data/types.jsonl', 'format' = 'json');

SELECT f + 1.5 AS added, f * 0.5 AS half, f / 2.0 AS divided, d * c AS dc, f > c AS more, f BETWEEN -1.5 AND 1.5 AS small,
       f IN (1.5, 16777216) AS listed, CASE WHEN b THEN f ELSE 0.5 END AS chosen, COALESCE(f, 0.5) AS given, IF(b, d, 0.5) AS iff
FROM kinds;
