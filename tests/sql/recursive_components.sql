-- Connected components: the least label of the neighbours, over links that come and go.

CREATE TABLE links (
  id BIGINT, src BIGINT, dst BIGINT, w BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/links.changes.jsonl', 'format' = 'changelog-json');

WITH MUTUALLY RECURSIVE labels (node BIGINT, label BIGINT) AS (
  SELECT node, MIN(label) AS label FROM (
    SELECT src AS node, src AS label FROM links
    UNION ALL SELECT dst, dst FROM links
    UNION ALL SELECT l.dst, c.label FROM labels AS c JOIN links AS l ON c.node = l.src
    UNION ALL SELECT l.src, c.label FROM labels AS c JOIN links AS l ON c.node = l.dst
  ) AS given GROUP BY node
)
SELECT label, COUNT(*) AS nodes FROM labels GROUP BY label;
