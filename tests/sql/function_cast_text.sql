-- By hand: the text that CAST and || give every type.

CREATE TABLE kinds (
  b BOOLEAN, t TINYINT, s SMALLINT, i INT, l BIGINT, f FLOAT, d DOUBLE,
  c DECIMAL(10, 3), big DECIMAL(38, 9), `day` DATE, tod TIME,
  t0 TIMESTAMP(0), t3 TIMESTAMP(3), t6 TIMESTAMP(6), tz TIMESTAMP_LTZ(3),
  vc VARCHAR(100), bin BYTES
) WITH ('connector' = 'filesystem', 'path' = 'data/types.jsonl', 'format' = 'json');

SELECT CAST(b AS STRING) AS b, CAST(t AS STRING) AS t, CAST(f AS STRING) AS f, CAST(d AS STRING) AS d,
       CAST(c AS STRING) AS c, CAST(`day` AS STRING) AS dy, CAST(tod AS STRING) AS tod, CAST(t0 AS STRING) AS t0,
       CAST(t3 AS STRING) AS t3, CAST(t6 AS STRING) AS t6, CAST(tz AS STRING) AS tz,
       vc || '@' || t3 AS joined, CONCAT(b, '/', `day`) AS parts
FROM kinds;
