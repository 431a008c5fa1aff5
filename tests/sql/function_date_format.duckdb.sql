SELECT id, strftime(ts, '%Y-%m-%d %H:%M:%S.%g') AS full_text, strftime(ts, '%d.%m.%y') AS short_text,
       strftime(ts, '%Hh%M') AS quoted, strftime(ts, '%Y%m%d%H%M%S') AS packed
FROM old_events
