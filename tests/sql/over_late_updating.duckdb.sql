SELECT id, k, LEAD(v) OVER (PARTITION BY k ORDER BY ts, id) AS next FROM late_events
