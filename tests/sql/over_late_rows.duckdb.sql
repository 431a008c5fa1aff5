SELECT time AS event_time, ts AS window_end, epoch_ms(time) - epoch_ms(ts) AS late_by_ms FROM late_events WHERE time > ts
