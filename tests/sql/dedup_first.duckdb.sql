SELECT user_id, page, ts
FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY ts, page) AS rn FROM clicks) AS ranked
WHERE rn = 1
