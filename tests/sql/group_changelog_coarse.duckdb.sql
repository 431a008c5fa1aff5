SELECT user_id, COUNT(*) AS n, SUM(second(ts)) AS total FROM clicks GROUP BY user_id
