SELECT id, k, ts FROM late_events WHERE v > 1
