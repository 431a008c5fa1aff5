-- Numbers, from constants alone.

WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 20)
SELECT COUNT(*) AS c, SUM(x) AS s FROM n;
