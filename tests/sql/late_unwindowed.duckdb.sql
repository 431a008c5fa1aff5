SELECT k, COUNT(*) AS n, SUM(v) AS v, MIN(ts) AS first_ts FROM late_events GROUP BY k
