-- By hand: rows of one time go by the further columns of ORDER BY.

CREATE TABLE steps (
  id INT, k INT, part INT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/steps.csv', 'format' = 'csv');

SELECT 'up' AS how, k, word FROM steps MATCH_RECOGNIZE (
  PARTITION BY k
  ORDER BY ts, part
  MEASURES LISTAGG(CAST(id AS STRING), ' ') AS word
  AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A+)
  DEFINE A AS TRUE
)
UNION ALL
SELECT 'down', k, word FROM steps MATCH_RECOGNIZE (
  PARTITION BY k
  ORDER BY ts ASC, part DESC
  MEASURES LISTAGG(CAST(id AS STRING), ' ') AS word
  AFTER MATCH SKIP PAST LAST ROW
  PATTERN (A+)
  DEFINE A AS TRUE
);
