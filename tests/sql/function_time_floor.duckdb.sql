SELECT id, wstart(ts, 3600000, 0) AS hour_start, wstart(plus_ms(ts, 3599999), 3600000, 0) AS hour_end, wstart(ts, 86400000, 0) AS day_start FROM old_events
