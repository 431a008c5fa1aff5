-- Paths of odd and of even length, each defined by the other.

CREATE TABLE links (
  id BIGINT, src BIGINT, dst BIGINT, w BIGINT, ts TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'filesystem', 'path' = 'data/links.changes.jsonl', 'format' = 'changelog-json');

WITH RECURSIVE
  odd (a, b) AS (
    SELECT src, dst FROM links
    UNION
    SELECT e.a, l.dst FROM even AS e JOIN links AS l ON e.b = l.src),
  even (a, b) AS (
    SELECT DISTINCT o.a, l.dst FROM odd AS o JOIN links AS l ON o.b = l.src)
SELECT odd.a, odd.b FROM odd JOIN even ON odd.a = even.a AND odd.b = even.b;
