SELECT '+I' AS op, ts AS time, user_id, page, ts FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY ts, page) AS rn FROM clicks) WHERE rn = 1
